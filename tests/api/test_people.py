"""The delegation log over the API."""

from datetime import date

import pytest

from tests.api.test_api import Api
from tests.builders import TODAY, World


@pytest.fixture
def one(sqlite_world: World) -> Api:
    return Api(sqlite_world)


def test_the_log_of_the_sites_that_somebody_sees(one: Api) -> None:
    rows = one.send("research-nurse", "GET", "/delegations").json
    assert {row["site"] for row in rows} == {"", "S01"}
    nurse = next(row for row in rows if row["person"].startswith("research-nurse"))
    assert (nurse["state"], nurse["from"], nurse["to"], nurse["paper"]) == ("in_force", "2025-01-06", None, True)
    assert nurse["acts"] == []
    assert {row["site"] for row in one.send("monitor", "GET", "/delegations?site=S02").json} == {"S02"}
    assert one.send("monitor", "GET", "/delegations?on=2025-01-05").json[0]["state"] == "later"
    assert one.send("research-nurse", "GET", "/delegations?site=S02").status_code == 403
    assert one.send("statistician-blinded", "GET", "/delegations").status_code == 403
    assert one.send("monitor", "GET", "/delegations?site=S99").status_code == 404
    assert one.send("monitor", "GET", "/delegations?colour=red").status_code == 422


def test_who_could(one: Api) -> None:
    found = one.send("monitor", "GET", f"/who?task=assess&site=S01&on={TODAY.isoformat()}").json
    assert [(row["person"].split(".")[0], row["allowed"], row["why"]) for row in found] == [("blinded-assessor", True, [])]
    assert one.send("monitor", "GET", f"/who?task=assess&site=S01&on={date(2020, 1, 1)}").json == []
    assert one.send("monitor", "GET", "/who?task=dance&site=S01").status_code == 422
    assert one.send("monitor", "GET", "/who?task=assess").status_code == 422
    assert one.send("research-nurse", "GET", "/who?task=assess&site=S02").status_code == 403

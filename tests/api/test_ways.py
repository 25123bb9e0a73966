"""The ways between pages: no breadcrumb leads anybody to a page that they may not open."""

import re
from collections import Counter
from collections.abc import Iterator

import pytest
from flask.testing import FlaskClient
from werkzeug.exceptions import HTTPException
from werkzeug.routing import MapAdapter

from tests import builders
from tests.api.test_concealment import browser
from tests.builders import TODAY, TRIAL, World
from tests.conftest import Template
from tests.twins import with_everybody
from trialdm.domain import roles
from trialdm.services import places, queries, records

HOME = f"/trials/{TRIAL}"
_LINK = re.compile(r'href="(/[^"#]*)"')
_CRUMBS = re.compile(r'<nav class="wide crumbs".*?</nav>', re.S)

#: What has no breadcrumbs: files, documents to print, the guide.
_ELSEWHERE = ("static", "bootstrap", "guide", "printing", "exports")


@pytest.fixture(scope="module")
def world(sqlite_template: Template, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A trial in which there is something of most kinds: a serious event, a query, a form that is entered twice."""
    found = sqlite_template.copy(tmp_path_factory.mktemp("ways") / "instance")
    with_everybody(found)
    ident = builders.randomised(found)
    builders.put(found, ident, "EV", "AE", {"ae_ser": 1})
    aware = f"{TODAY.isoformat()}T08:00"
    report = {"sae_ae_no": 1, "sae_crit": [3], "sae_aware": aware, "sae_reported": aware}
    builders.put(found, ident, "EV", "SAE", report, role="principal-investigator")
    builders.put(found, ident, "V05", "PRPB", {"prpb_frame": 1, **{f"prpb_{n}": 3 for n in range(1, 8)}}, only=True)
    found.run("monitor", lambda unit: queries.ask(unit, places.locate(unit, TRIAL, ident, "V01", "CLIN"), "asa", "Which grade?"))
    yield found
    found.instance.engine.dispose()


def starts(world: World) -> list[str]:
    with world.units.reading(world.actor("trial-coordinator")) as unit:
        ident = records.participants.listed(unit, TRIAL)[0][0].id
    forms = [f"visits/{at}" for at in ("EV/forms/SAE", "EV/forms/SAE/1", "EV/forms/SAE/1/audit", "V01/forms/CLIN", "V01/forms/CLIN/audit",
                                       "V04/forms/DIAR/table", "V01/forms/CLIN/1/verify")]  # fmt: skip
    acts = ["", "randomise", "factors", "theatre", "unblind", "tell", "transfer", "sign", *forms]
    pages = [
        "",
        "safety",
        "approvals",
        "people",
        "queries",
        "queries/Q1",
        "monitoring/forms",
        "holds/trial",
        "steps",
        "imports",
        "versions/1",
    ]
    about = f"queries/new?participant={ident}&visit=V01&form=CLIN&item=asa"
    return [f"{HOME}/{page}".rstrip("/") for page in (*pages, about)] + [f"{HOME}/participants/{ident}/{act}".rstrip("/") for act in acts]


def walked(client: FlaskClient, starts: list[str]) -> dict[str, str]:
    """The pages to start from, and one of each kind that links lead to: address -> text."""
    rules: MapAdapter = client.application.url_map.bind("localhost")
    waiting, kinds, found = list(starts), Counter[str](), dict[str, str]()
    while waiting:
        path = waiting.pop(0)
        try:
            kind = rules.match(path.partition("?")[0], method="GET")[0]
        except HTTPException:
            continue
        if path in found or kind.startswith(_ELSEWHERE) or (kinds[kind] and path not in starts):
            continue
        kinds[kind] += 1
        answer = client.get(path)
        assert answer.status_code != 500, path
        if answer.mimetype == "text/html" and answer.status_code == 200:
            found[path] = answer.get_data(as_text=True)
            waiting += [link.replace("&amp;", "&") for link in _LINK.findall(found[path])]
    return found


@pytest.mark.parametrize("role", list(roles.ROLES))
def test_every_breadcrumb_leads_to_a_page_that_its_reader_may_open(world: World, role: str) -> None:
    client = browser(world, role)
    pages = walked(client, starts(world))
    crumbs = {
        link.replace("&amp;", "&"): path for path, text in pages.items() for nav in _CRUMBS.findall(text) for link in _LINK.findall(nav)
    }
    closed = [f"{link} on {path}" for link, path in crumbs.items() if link not in pages and client.get(link).status_code != 200]
    assert closed == []
    assert len(pages) > 3

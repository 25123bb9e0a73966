"""A transfer by the command line, the API and the page."""

import re

from tests import builders
from tests.api.test_api import Api
from tests.api.test_concealment import browser
from tests.builders import TODAY, TRIAL, World
from tests.cli.test_commands import Shell

MANAGER, NURSE = builders.email("trial-manager", ""), builders.email("research-nurse", "S01")


def test_a_transfer_by_every_door(sqlite_world: World, capsys) -> None:
    world, shell, api = sqlite_world, Shell(sqlite_world.instance.settings.folder, capsys), Api(sqlite_world)
    ident, day = builders.randomised(world), TODAY.isoformat()
    asked = ("participant", "transfer", TRIAL, ident, "--site", "S02", "--reason", "Moved house")
    assert shell(*asked, "--day", day, who=NURSE)[0] == 3
    assert shell(*asked, "--day", "soon", who=MANAGER)[0] == 2
    assert shell(*asked, "--day", day, who=MANAGER)[:2] == (0, f"{ident} is at site S02 now.\n")
    assert shell(*asked, "--day", day, who=MANAGER)[0] == 4

    body = {"site": "S01", "day": day, "reason": "Moved back"}
    path = f"/participants/{ident}/transfer"
    assert api.send("research-nurse", "POST", path, json=body).status_code == 403
    assert api.send("trial-manager", "POST", path, json={**body, "arm": 1}).status_code == 422
    given = api.send("trial-manager", "POST", path, json=body)
    assert (given.status_code, given.json["site"], given.json["enrolled_site"], given.json["number"]) == (200, "S01", "S01", 1)

    client = browser(world, "trial-manager")
    page = f"/trials/{TRIAL}/participants/{ident}/transfer"
    asks = client.get(page).text
    assert "Calderfield General Hospital" in asks
    assert "Thornmere" not in asks, "only open sites are offered"
    token = re.search(r'name="csrf_token" value="([^"]*)"', asks)
    sent = {"csrf_token": token.group(1) if token else "", "site": "S02", "day": "10/3/2026", "reason": ""}
    refused = client.post(page, data=sent)
    assert refused.status_code == 422
    assert 'href="#reason"' in refused.text
    assert 'value="10/3/2026"' in refused.text
    moved = client.post(page, data={**sent, "reason": "Moved house again"}, follow_redirects=True)
    assert "Transferred to site S02" in moved.text
    assert "Enrolled at site S01 as number 1" in moved.text
    assert "Moved house again" in moved.text
    nurse = browser(world, "research-nurse")
    assert nurse.get(page).status_code == nurse.get(f"/trials/{TRIAL}/participants/{ident}").status_code == 403

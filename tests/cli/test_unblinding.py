"""Unblinding, notices and the check before surgery from the command line."""

from datetime import UTC, datetime

import pytest

from tests import builders
from tests.builders import TRIAL, World
from tests.cli.test_commands import Shell, email

PRINCIPAL, SURGEON, NURSE = email("principal-investigator", "S01"), email("surgeon", "S01"), email("research-nurse", "S01")


@pytest.fixture
def shell(sqlite_world: World, capsys: pytest.CaptureFixture[str]) -> Shell:
    sqlite_world.now = datetime.now(UTC)
    return Shell(sqlite_world.instance.settings.folder, capsys)


def test_an_emergency_and_a_drill(shell: Shell, sqlite_world: World) -> None:
    ident = builders.randomised(sqlite_world)
    code, drill = shell.json("unblind", TRIAL, ident, "--reason", "this is our drill", "--drill", who=PRINCIPAL)
    assert (code, drill["arm"], drill["drill"]) == (0, None, True)
    code, found = shell.json("unblind", TRIAL, ident, "--reason", "bleeding and sepsis suspected", who=PRINCIPAL)
    assert (code, found["drill"], {"participant", "number", "at", "arm", "drill"} <= set(found)) == (0, False, True)
    assert found["arm"] == sqlite_world.protocol.arm(builders.arm_of(sqlite_world, ident)).name
    assert shell("unblind", TRIAL, ident, "--reason", " ", who=PRINCIPAL)[0] == 2
    refused = shell("unblind", TRIAL, ident, "--reason", "bleeding and sepsis suspected", who=NURSE)
    assert (refused[0], "TMR" in refused[2].replace("PRE-TMR", "") or "Standard" in refused[2]) == (3, False)
    assert shell("unblind", TRIAL, ident, "--planned", "V07", who=PRINCIPAL)[0] == 3
    assert shell("unblind", TRIAL, ident, "--planned", "V07", "--drill", who=PRINCIPAL)[0] == 2
    code, log = shell.json("unblinding", "log", TRIAL, who=email("trial-manager"))
    assert (code, [row["kind"] for row in log]) == (0, ["emergency"])


def test_the_check_before_surgery(shell: Shell, sqlite_world: World) -> None:
    ident = builders.randomised(sqlite_world)
    words = ("theatre", "confirm", TRIAL, ident, "--limb", "lower", "--level", "12", "--side")
    code, problem = shell.json(*words, "right", who=SURGEON)
    assert (code, problem["code"]) == (3, "THEATRE.WRONG_SIDE")
    code, found = shell.json(*words, "left", who=SURGEON)
    assert (code, found["agrees"], found["arm"] in ("TMR", "Standard")) == (0, True, True)
    code, notices = shell.json("notices", "list", who=email("trial-manager"))
    assert (code, [row["kind"] for row in notices]) == (0, ["theatre"])


def test_looking_and_notices(shell: Shell, sqlite_world: World) -> None:
    ident = builders.randomised(sqlite_world)
    code, found = shell.json("allocation", "show", TRIAL, ident, who=SURGEON)
    assert (code, found["arm"] in ("TMR", "Standard")) == (0, True)
    assert shell("allocation", "show", TRIAL, ident, who=NURSE)[0] == 3
    code, listed = shell.json("notices", "list", who=SURGEON)
    assert (code, len(listed), listed[0]["read_at"]) == (0, 1, None)
    code, read = shell.json("notices", "read", listed[0]["id"], who=SURGEON)
    assert (code, bool(read["read_at"])) == (0, True)
    assert shell("notices", "read", listed[0]["id"], who=NURSE)[0] == 2


def test_two_people_unblind_the_trial(shell: Shell, sqlite_world: World) -> None:
    statistician, sponsor = email("statistician-unblinded"), email("sponsor")
    assert shell("trial", "unblind", TRIAL, who=sponsor)[0] == 3
    builders.lock(sqlite_world)
    assert shell.json("trial", "unblind", TRIAL, who=statistician) == (0, {"trial": TRIAL, "blinding": "asked"})
    assert shell("trial", "unblind", TRIAL, who=statistician)[0] == 3
    assert shell.json("trial", "unblind", TRIAL, who=sponsor) == (0, {"trial": TRIAL, "blinding": "unblinded"})


def test_the_state_of_mails(shell: Shell, sqlite_world: World) -> None:
    builders.randomised(sqlite_world)
    code, found = shell.json("mail", "status")
    assert (code, found) == (0, {"configured": False, "waiting": 3, "sent": 0, "failed": 0, "last_error": ""})
    assert "settings.toml" in shell("mail", "status")[1]

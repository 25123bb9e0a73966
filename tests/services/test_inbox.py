"""The inbox: whoever is asked for a signature, a check or a confirmation, or owes a deadline, finds it there until it is done."""

from dataclasses import replace
from datetime import date, timedelta

import pytest
from sqlalchemy import select

from tests import pathway
from tests.builders import TODAY, TRIAL, World
from tests.pathway import AUDIT
from tests.services.test_delegations import NEW, newcomer, propose
from trialdm.domain.errors import SignedOut
from trialdm.domain.ethics import Approval, Fact
from trialdm.services import approvals, clocks, delegations, governance, inbox, notices
from trialdm.services.unit import NOBODY, SYSTEM, Unit
from trialdm.store.tables import Outgoing


def waiting(world: World, who: str, *kinds: str, site: str = "") -> list[tuple[str, str, str, date | None, bool]]:
    found = world.read(who, inbox.waiting, site) if site else world.read(who, inbox.waiting)
    return [(one.kind, one.what, one.site, one.due, one.late) for one in found if not kinds or one.kind in kinds]


def test_a_line_waits_for_its_person_then_for_whoever_countersigns(world: World) -> None:
    newcomer(world)
    line = propose(world)
    assert waiting(world, "newcomer", "sign") == [("sign", "consent, crf", "S01", TODAY, False)]
    assert waiting(world, "principal-investigator", "sign", "countersign") == []
    world.run("newcomer", lambda unit: delegations.sign(unit, TRIAL, line))
    assert waiting(world, "newcomer", "sign") == []
    assert waiting(world, "principal-investigator", "countersign") == [("countersign", "New research-nurse", "S01", TODAY, False)]
    assert waiting(world, "trial-manager", "countersign") == []
    world.run("principal-investigator", lambda unit: delegations.countersign(unit, TRIAL, line))
    assert waiting(world, "principal-investigator", "countersign") == []


def test_who_is_asked_for_a_signature_is_told_without_a_word_in_the_mail(sqlite_world: World) -> None:
    world = sqlite_world
    newcomer(world)
    line = propose(world)
    assert [m.subject for m in world.read("newcomer", notices.inbox)] == ["A line waits for your signature"]
    world.run("newcomer", lambda unit: delegations.sign(unit, TRIAL, line))
    told = world.read("principal-investigator", notices.inbox)[0]
    assert (told.kind, told.subject) == ("delegation", "A line waits for your countersignature")
    assert "New research-nurse" in told.text
    with world.units.reading(SYSTEM) as unit:
        mails = unit.session.scalars(select(Outgoing).where(Outgoing.to == NEW)).all()
    assert [NEW in mail.body or "nurse" in mail.body for mail in mails] == [False]


def test_a_decision_waits_for_everybody_who_may_check_it_but_its_recorder(world: World) -> None:
    opinion = Approval("rec", "favourable", ref="26/XX/0999", decided_on=TODAY, effective_from=TODAY, supersedes="26/LO/0001")

    def record(unit: Unit) -> int:
        standing = next(a for a in approvals.register.read(unit, TRIAL).approvals if a.body == "rec")
        return approvals.record(unit, TRIAL, replace(opinion, nations=standing.nations, supersedes=standing.ref))

    number = world.run("trial-manager", record)
    expected = [("check", "Research ethics committee: favourable", "", None, False)]
    assert waiting(world, "sponsor", "check") == expected
    assert waiting(world, "trial-manager", "check") == []
    assert waiting(world, "research-nurse", "check") == []
    world.run("sponsor", lambda unit: approvals.check(unit, TRIAL, number))
    assert waiting(world, "sponsor", "check") == []


def test_a_deadline_waits_for_its_owners_once_it_presses(world: World) -> None:
    number = world.run("sponsor", lambda unit: approvals.state(unit, TRIAL, Fact("usm", TODAY, text="needle count changed")))
    title = "Written notice of an urgent safety measure to the committee"
    due = date(2026, 3, 13)
    assert waiting(world, "sponsor", "deadline") == [("deadline", title, "", due, False)]
    assert waiting(world, "monitor", "deadline") == []
    world.at(due + timedelta(days=1))
    assert waiting(world, "chief-investigator", "deadline")[0] == ("deadline", title, "", due, True)
    world.run("sponsor", lambda unit: clocks.meet(unit, TRIAL, f"usm:{number}", due, "letter"))
    assert title not in [what for _, what, *_ in waiting(world, "sponsor", "deadline")]


def test_what_runs_out_waits_for_whoever_may_propose_the_next_line(sqlite_world: World) -> None:
    world = sqlite_world
    newcomer(world)
    line = propose(world, end=TODAY + timedelta(days=20))
    world.run("newcomer", lambda unit: delegations.sign(unit, TRIAL, line))
    world.run("principal-investigator", lambda unit: delegations.countersign(unit, TRIAL, line))
    ends = ("expiry", "New research-nurse: taking consent, completing case report forms", "S01", TODAY + timedelta(days=20), False)
    for who in ("trial-manager", "principal-investigator"):
        assert ends in waiting(world, who, "expiry")
    assert ends not in waiting(world, "research-nurse", "expiry")


def test_a_notice_waits_for_the_governance_lead(sqlite_audit: World) -> None:
    audit = sqlite_audit
    day = pathway.today(audit)
    number = audit.run("auditor", lambda unit: governance.inform(unit, AUDIT, "S01", day, "By letter"), "S01")
    assert waiting(audit, "lead", "confirm") == [("confirm", "By letter", "S01", None, False)]
    assert waiting(audit, "auditor", "confirm", site="S01") == []
    audit.run("lead", lambda unit: governance.confirm(unit, AUDIT, "S01", number, day))
    assert waiting(audit, "lead", "confirm") == []


def test_nobody_has_no_inbox(sqlite_world: World) -> None:
    world = sqlite_world
    world.actors[("nobody", "")] = NOBODY
    with pytest.raises(SignedOut):
        world.read("nobody", inbox.waiting)

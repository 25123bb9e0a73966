"""The delegation log: who proposes, signs, countersigns and ends a line, and that the line is the permission."""

import threading
from collections.abc import Callable
from datetime import date, time, timedelta
from typing import Any

import pytest
from sqlalchemy import event, select

from tests import builders
from tests.builders import TODAY, TRIAL, World
from trialdm.definitions.people import PersonEntry
from trialdm.domain import ethics, roles
from trialdm.domain.errors import Conflict, Forbidden, Invalid, Missing, Refused, TrialError, WrongState
from trialdm.domain.ethics.rules import people as rules
from trialdm.services import allocations, approvals, delegations, gates, people, register, trail
from trialdm.services.delegations import Line
from trialdm.services.unit import SYSTEM, Actor, Unit
from trialdm.store.tables import AuditEvent, Credential, Delegation, Evidence

NURSE = builders.email("research-nurse", "S01")
NEW = "new.nurse@trial.example"


def newcomer(world: World, role: str = "research-nurse", site: str = "S01", email: str = NEW, *, trained: bool = True) -> Actor:
    """Somebody with a role and training, and no line."""

    def add(unit: Unit) -> None:
        account = people.add(unit, email, f"New {role}", builders.PASSWORD, [(role, site)])
        if trained:
            delegations.train(unit, TRIAL, account, kind="gcp", on=TODAY - timedelta(days=90))

    world.run("trial-manager", add)
    with world.units.reading(SYSTEM) as unit:
        found = people.actor(unit, people.by_email(unit, email), "test")
    world.actors[("newcomer", site or "S01")] = found
    return found


def propose(world: World, by: str = "trial-manager", email: str = NEW, site: str = "S01", **said: Any) -> str:
    given = {"tasks": ("consent", "crf"), "start": TODAY, **said}
    return world.run(by, lambda unit: delegations.propose(unit, TRIAL, people.by_email(unit, email), site=site, **given))


def signed(world: World, **said: Any) -> str:
    """A line of the newcomer that both have signed."""
    line = propose(world, **said)
    world.run("newcomer", lambda unit: delegations.sign(unit, TRIAL, line))
    world.run("principal-investigator", lambda unit: delegations.countersign(unit, TRIAL, line))
    return line


def line_of(world: World, email: str) -> Line:
    with world.units.reading(SYSTEM) as unit:
        return next(line for line in delegations.lines(unit, TRIAL) if line.email == email)


def state(world: World, line: str) -> str:
    with world.units.reading(SYSTEM) as unit:
        return delegations.one(replaced(unit, world), TRIAL, line).state(unit.today)


def replaced(unit: Unit, world: World) -> Unit:
    unit.actor = world.actor("trial-manager")
    return unit


# --- two signatures --------------------------------------------------------------------------------------------------


def test_a_line_counts_once_both_have_signed_and_not_before(world: World) -> None:
    somebody = newcomer(world)

    def delegated() -> bool:
        with world.units.reading(SYSTEM) as unit:
            return register.read(unit, TRIAL).delegated(somebody.id, "S01", "consent", TODAY)

    line = propose(world, by="principal-investigator")
    assert (state(world, line), delegated()) == ("signature", False)
    world.run("newcomer", lambda unit: delegations.sign(unit, TRIAL, line))
    assert (state(world, line), delegated()) == ("countersignature", False)
    assert world.run("principal-investigator", lambda unit: delegations.countersign(unit, TRIAL, line)) == ()
    assert (state(world, line), delegated()) == ("in_force", True)
    found = line_of(world, NEW)
    assert [(act.act, act.by) for act in found.acts] == [("sign", "New research-nurse"), ("countersign", "Principal-Investigator S01")]
    with world.units.reading(SYSTEM) as unit:
        assert trail.verify(unit) > 0


def test_a_start_before_the_signatures_is_warned_of_and_the_line_counts_from_them_on(world: World) -> None:
    somebody = newcomer(world)
    line = propose(world, start=TODAY - timedelta(days=10))
    world.run("newcomer", lambda unit: delegations.sign(unit, TRIAL, line))
    (warning,) = world.run("principal-investigator", lambda unit: delegations.countersign(unit, TRIAL, line))
    assert f"it counts from {TODAY.isoformat()} on" in warning
    with world.units.reading(SYSTEM) as unit:
        found = register.read(unit, TRIAL)
    assert [found.delegated(somebody.id, "S01", "consent", TODAY - timedelta(days=ago)) for ago in (1, 0)] == [False, True]


WRONG: dict[str, tuple[str, Callable[[Unit, str], Any], type[TrialError], str]] = {
    "somebody else signs": ("research-nurse", lambda unit, line: delegations.sign(unit, TRIAL, line), Forbidden, "PEOPLE.NOT_OWN"),
    "countersigned before it is signed": (
        "principal-investigator",
        lambda unit, line: delegations.countersign(unit, TRIAL, line),
        WrongState,
        "STATE.LINE",
    ),
    "a nurse countersigns": (
        "research-nurse",
        lambda unit, line: delegations.countersign(unit, TRIAL, line),
        Forbidden,
        "ROLE.DELEGATION.COUNTERSIGN",
    ),
    "the chief investigator countersigns for the site": (
        "chief-investigator",
        lambda unit, line: delegations.countersign(unit, TRIAL, line),
        Forbidden,
        "ROLE.DELEGATION.COUNTERSIGN",
    ),
    "the person countersigns their own": (
        "newcomer",
        lambda unit, line: delegations.countersign(unit, TRIAL, line),
        Refused,
        "GATE.GOV-15",
    ),
    "declined without a reason": ("newcomer", lambda unit, line: delegations.decline(unit, TRIAL, line, " "), Invalid, "PEOPLE.REASON"),
    "another nurse ends it": ("research-nurse", lambda unit, line: delegations.end(unit, TRIAL, line), Forbidden, "ROLE.DELEGATION.END"),
    "ended for yesterday": (
        "trial-manager",
        lambda unit, line: delegations.end(unit, TRIAL, line, TODAY - timedelta(days=1)),
        Refused,
        "PEOPLE.END_PAST",
    ),
    "there is no such line": ("trial-manager", lambda unit, line: delegations.end(unit, TRIAL, "none"), Missing, "PEOPLE.LINE"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_refused_on_a_line_that_waits_for_its_person(sqlite_world: World, case: str) -> None:
    role, work, kind, code = WRONG[case]
    newcomer(sqlite_world)
    line = propose(sqlite_world)
    with pytest.raises(kind) as refused:
        sqlite_world.run(role, lambda unit: work(unit, line))
    assert refused.value.code == code
    assert refused.value.needs or code == "PEOPLE.LINE"
    assert state(sqlite_world, line) == "signature"
    if kind in (Forbidden, Refused):
        assert code in builders.refusals(sqlite_world)[-1][1]


NEVER: dict[str, tuple[dict[str, Any], type[TrialError], str]] = {
    "no task": ({"tasks": ()}, Invalid, "PEOPLE.TASK"),
    "an unknown task": ({"tasks": ("dance",)}, Invalid, "PEOPLE.TASK"),
    "it ends before it begins": ({"end": TODAY - timedelta(days=1)}, Invalid, "PEOPLE.DAYS"),
    "an unknown site": ({"site": "S99"}, Missing, "SITE.UNKNOWN"),
    "a site where the person has no role": ({"site": "S02"}, Refused, "PEOPLE.NO_ROLE"),
}


@pytest.mark.parametrize("case", NEVER)
def test_lines_that_cannot_be(sqlite_world: World, case: str) -> None:
    said, kind, code = NEVER[case]
    newcomer(sqlite_world)
    with pytest.raises(kind) as refused:
        propose(sqlite_world, **said)
    assert refused.value.code == code


@pytest.mark.parametrize(
    ("role", "site", "may"),
    [
        ("trial-manager", "S01", True),
        ("trial-manager", "", True),
        ("principal-investigator", "S01", True),
        ("principal-investigator", "S02", False),
        ("principal-investigator", "", False),
        ("research-nurse", "S01", False),
        ("system-administrator", "S01", False),
        ("sponsor", "S01", False),
    ],
)
def test_who_proposes_where(sqlite_world: World, role: str, site: str, may: bool) -> None:
    newcomer(sqlite_world, "safety-reviewer", "")
    if may:
        assert propose(sqlite_world, by=role, site=site)
    else:
        with pytest.raises(Forbidden) as refused:
            propose(sqlite_world, by=role, site=site)
        assert refused.value.code == "ROLE.DELEGATION.PROPOSE"


def test_the_same_line_is_proposed_once(sqlite_world: World) -> None:
    newcomer(sqlite_world)
    propose(sqlite_world)
    with pytest.raises(Conflict) as refused:
        propose(sqlite_world, tasks=("crf", "consent"))
    assert refused.value.code == "PEOPLE.LINE_TWICE"
    assert propose(sqlite_world, tasks=("crf",))


@pytest.mark.parametrize(
    ("held", "site", "countersigns"),
    [
        ("research-nurse", "S01", "principal-investigator"),
        ("principal-investigator", "S01", "chief-investigator"),
        ("trial-coordinator", "", "chief-investigator"),
        ("chief-investigator", "", "sponsor"),
    ],
)
def test_who_countersigns(sqlite_world: World, held: str, site: str, countersigns: str) -> None:
    world = sqlite_world
    newcomer(world, held, site)
    line = propose(world, site=site, tasks=("crf",))
    world.units.run(world.actors[("newcomer", site or "S01")], lambda unit: delegations.sign(unit, TRIAL, line))
    for role in ("principal-investigator", "chief-investigator", "sponsor", "trial-manager"):
        if role != countersigns:
            with pytest.raises(Forbidden):
                world.run(role, lambda unit: delegations.countersign(unit, TRIAL, line))
    waiting = world.read(countersigns, lambda unit: delegations.waiting_for(unit, TRIAL))
    assert [(found.id, step) for found, step in waiting] == [(line, "countersign")]
    world.run(countersigns, lambda unit: delegations.countersign(unit, TRIAL, line))
    assert state(world, line) == "in_force"
    assert world.read(countersigns, lambda unit: delegations.waiting_for(unit, TRIAL)) == []


def test_a_line_that_is_declined_waits_no_more(world: World) -> None:
    newcomer(world)
    first, second = propose(world), propose(world, tasks=("crf",))
    world.run("newcomer", lambda unit: delegations.decline(unit, TRIAL, first, "I have not been trained in it"))
    world.run("newcomer", lambda unit: delegations.sign(unit, TRIAL, second))
    world.run("principal-investigator", lambda unit: delegations.decline(unit, TRIAL, second, "Not at this site"))
    assert [state(world, line) for line in (first, second)] == ["declined", "declined"]
    for line in (first, second):
        with pytest.raises(WrongState):
            world.run("trial-manager", lambda unit, line=line: delegations.end(unit, TRIAL, line))
    with pytest.raises(WrongState):
        world.run("newcomer", lambda unit: delegations.sign(unit, TRIAL, first))


# --- the end of a line -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("role", ["principal-investigator", "trial-manager", "chief-investigator", "sponsor", "research-nurse"])
def test_a_nurse_whose_line_has_just_ended_is_refused_at_the_next_save_and_randomisation(world: World, role: str) -> None:
    ident = builders.ready(world)
    builders.put(world, ident, "V01", "VISI", {"vs_done": 1, "vs_date": TODAY.isoformat(), "vs_mode": 1}, reason="again")
    line = line_of(world, NURSE)
    world.at(TODAY, time(11))
    world.run(role, lambda unit: delegations.end(unit, TRIAL, line.id))
    for attempt in (
        lambda: builders.put(world, ident, "V01", "EQ5D", {}, reason="after the end"),
        lambda: world.run("research-nurse", lambda unit: allocations.randomise(unit, TRIAL, ident, "after")),
    ):
        with pytest.raises(Refused) as refused:
            attempt()
        assert refused.value.code == "GATE.GOV-14"
    world.run("sub-investigator", lambda unit: allocations.randomise(unit, TRIAL, ident, "another"))
    with world.units.reading(SYSTEM) as unit:
        assert all(not replayed.different for replayed in gates.replay(replaced(unit, world), TRIAL))


def test_an_end_in_the_future_counts_from_its_day_and_may_only_come_earlier(world: World) -> None:
    person = newcomer(world)
    line = signed(world)
    world.run("trial-manager", lambda unit: delegations.end(unit, TRIAL, line, TODAY + timedelta(days=10)))
    with pytest.raises(Refused) as refused:
        world.run("trial-manager", lambda unit: delegations.end(unit, TRIAL, line, TODAY + timedelta(days=11)))
    assert refused.value.code == "PEOPLE.END_LATER"
    world.run("trial-manager", lambda unit: delegations.end(unit, TRIAL, line, TODAY + timedelta(days=5)))
    with world.units.reading(SYSTEM) as unit:
        found = register.read(unit, TRIAL)
    covered = [found.delegated(person.id, "S01", "crf", TODAY + timedelta(days=days)) for days in (0, 4, 5)]
    assert covered == [True, True, False]
    assert line_of(world, NEW).last_day == TODAY + timedelta(days=4)


def test_the_state_of_a_line_is_what_the_gate_goes_by(world: World) -> None:
    """On every day: a line is in force exactly where the register lets its person do its tasks."""
    newcomer(world)
    signed(world, start=TODAY + timedelta(days=3), end=TODAY + timedelta(days=20))
    later = signed(world, tasks=("crf",))
    world.run("trial-manager", lambda unit: delegations.end(unit, TRIAL, later, TODAY + timedelta(days=7)))
    propose(world, tasks=("eligibility",))
    with world.units.reading(SYSTEM) as unit:
        found = {line.line: line for line in register.read(unit, TRIAL).delegations}
        for line in delegations.lines(unit, TRIAL):
            for days in range(-3, 25):
                on = TODAY + timedelta(days=days)
                covers = found[line.id].covers(line.person, line.site, line.tasks[0], on)
                assert covers == (line.state(on) == "in_force"), (line.tasks, on)


def test_what_was_taken_back_leaves_nothing_in_the_register_that_others_read(world: World) -> None:
    """An end that is rolled back, then another act: the line of the first still counts."""
    ident = builders.ready(world)
    newcomer(world)
    waiting, line = propose(world), line_of(world, NURSE)

    def ended_and_failed(unit: Unit) -> None:
        delegations.end(unit, TRIAL, line.id)
        register.read(unit, TRIAL)
        raise Invalid("taken back")

    with pytest.raises(Invalid):
        world.run("trial-manager", ended_and_failed)
    world.run("newcomer", lambda unit: delegations.sign(unit, TRIAL, waiting))
    world.run("research-nurse", lambda unit: allocations.randomise(unit, TRIAL, ident, "still"))


def test_an_end_while_eight_threads_randomise(world: World) -> None:
    """Every allocation by the nurse stands before the end in the trail, every refusal comes after it."""
    last, *idents = [builders.ready(world) for _ in range(17)]
    line, nurse = line_of(world, NURSE), world.actor("research-nurse")
    told: list[str] = []
    begun = threading.Barrier(9)

    def randomise(mine: list[str]) -> None:
        begun.wait()
        for ident in mine:
            try:
                world.units.run(nurse, lambda unit, ident=ident: allocations.randomise(unit, TRIAL, ident, f"key-{ident}"))
                told.append("allocated")
            except Refused as refused:
                told.append(refused.code)

    def end() -> None:
        begun.wait()
        while told.count("allocated") < 3:
            threading.Event().wait(0.002)
        world.run("principal-investigator", lambda unit: delegations.end(unit, TRIAL, line.id))

    threads = [threading.Thread(target=randomise, args=(idents[number::8],)) for number in range(8)] + [threading.Thread(target=end)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert set(told) <= {"allocated", "GATE.GOV-14"}
    assert len(told) == len(idents)
    with world.units.reading(SYSTEM) as unit:
        trailed = list(unit.session.execute(select(AuditEvent.seq, AuditEvent.action).order_by(AuditEvent.seq)))
    ended = next(seq for seq, action in trailed if action == "delegation.end")
    assert all(seq < ended for seq, action in trailed if action == "participant.randomise")
    assert all(seq > ended for seq, action in trailed if action == "refused")
    with pytest.raises(Refused):
        world.run("research-nurse", lambda unit: allocations.randomise(unit, TRIAL, last, "afterwards"))


# --- reading ---------------------------------------------------------------------------------------------------------


def test_the_log_on_a_day_is_what_stood_in_it_then(world: World) -> None:
    newcomer(world)
    line = signed(world)
    world.at(TODAY + timedelta(days=30))
    world.run("newcomer", lambda unit: delegations.end(unit, TRIAL, line))

    def states(on: date) -> list[str]:
        return [found.state(on) for found in world.read("monitor", lambda unit: delegations.log(unit, TRIAL, on)) if found.id == line]

    assert states(TODAY - timedelta(days=1)) == []
    assert states(TODAY + timedelta(days=29)) == ["in_force"]
    assert states(TODAY + timedelta(days=30)) == ["ended"]


@pytest.mark.parametrize(
    ("role", "sites"),
    [
        ("research-nurse", {"", "S01"}),
        ("blinded-assessor", {"", "S01"}),
        ("monitor", {"", "S01", "S02"}),
        ("chief-investigator", {"", "S01", "S02"}),
        ("trial-manager", {"", "S01", "S02"}),
    ],
)
def test_whose_log_somebody_reads(sqlite_world: World, role: str, sites: set[str]) -> None:
    found = sqlite_world.read(role, lambda unit: delegations.log(unit, TRIAL))
    assert {line.site for line in found} == sites


def test_somebody_without_the_right_reads_only_a_line_of_their_own(sqlite_world: World) -> None:
    with pytest.raises(Forbidden) as refused:
        sqlite_world.read("statistician-blinded", lambda unit: delegations.log(unit, TRIAL))
    assert refused.value.code == "ROLE.DELEGATION.SEE"
    line = propose(sqlite_world, email=builders.email("statistician-blinded", ""), site="", tasks=("crf",))
    assert [found.id for found in sqlite_world.read("statistician-blinded", lambda unit: delegations.log(unit, TRIAL))] == [line]
    with pytest.raises(Forbidden):
        sqlite_world.read("research-nurse", lambda unit: delegations.log(unit, TRIAL, site="S02"))


TASK_OF = {"consent": "consent", "randomise": "randomise", "crf": "save-form"}


@pytest.mark.parametrize("task", TASK_OF)
def test_who_could_agrees_with_the_gate(sqlite_world: World, task: str) -> None:
    """For everybody at S01 and on days before and after training, lines and intervals end."""
    world = sqlite_world
    newcomer(world)
    line = signed(world, tasks=("consent", "randomise", "crf"))
    world.run("trial-manager", lambda unit: delegations.end(unit, TRIAL, line, TODAY + timedelta(days=40)))
    everybody = [world.actors[("newcomer", "S01")], *(actor for (_, site), actor in world.actors.items() if site in ("", "S01"))]
    with world.units.reading(world.actor("monitor")) as unit:
        for days in (0, 1, 39, 40, 700, 701, 1003, 1100):
            on = TODAY + timedelta(days=days)
            could = {able.email for able in delegations.who_could(unit, TRIAL, task, "S01", on) if able.allowed}
            for actor in everybody:
                case = ethics.Case(
                    TASK_OF[task], on, world.protocol, register.read(unit, TRIAL), "open",
                    world.protocol.site("S01"), "open", ethics.Person(actor.id, actor.name, actor.grants),
                )  # fmt: skip
                allowed = ethics.gate(case, [r for r in rules.RULES if r.id in ("GOV-14", "GOV-16")]).allowed
                assert allowed == (actor.email in could), (actor.email, on)


def test_who_could_names_those_whom_only_training_or_credential_kept_from_it(sqlite_world: World) -> None:
    world = sqlite_world
    newcomer(world, trained=False)
    line = signed(world)
    able = world.read("research-nurse", lambda unit: delegations.who_could(unit, TRIAL, "consent", "S01", TODAY))
    assert [one.allowed for one in able] == sorted((one.allowed for one in able), reverse=True)
    (kept,) = [one for one in able if not one.allowed]
    assert (kept.email, kept.lines) == (NEW, (line,))
    assert kept.why == (f"New research-nurse has no valid training in good clinical practice on {TODAY.isoformat()}.",)
    operate = world.read("monitor", lambda unit: delegations.who_could(unit, TRIAL, "operate", "S01", TODAY))
    assert [(one.email.split(".")[0], one.allowed) for one in operate] == [("surgeon", True), ("principal-investigator", False)]
    assert "no credential for TMR" in operate[1].why[0]
    world.run("trial-manager", lambda unit: delegations.end(unit, TRIAL, line))
    able = world.read("monitor", lambda unit: delegations.who_could(unit, TRIAL, "consent", "S01", TODAY))
    assert next(one for one in able if one.email == NEW).why[0] == "The line ended on this day."


def test_what_runs_out(world: World) -> None:
    newcomer(world)
    signed(world, end=TODAY + timedelta(days=45))
    nurse = builders.email("research-nurse", "S02")

    def work(unit: Unit) -> None:
        account = people.by_email(unit, nurse)
        delegations.train(unit, TRIAL, account, kind="protocol", on=TODAY, valid_to=TODAY + timedelta(days=20))
        surgeon = people.by_email(unit, builders.email("surgeon", "S02"))
        until = TODAY + timedelta(days=29)
        delegations.credential(unit, TRIAL, surgeon, site="S02", valid_from=TODAY, cases=12, valid_to=until)

    world.run("sponsor", work)
    found = world.read("trial-manager", lambda unit: delegations.expiring(unit, TRIAL))
    assert [(e.kind, e.site, e.left, e.urgency) for e in found if e.kind != "gap"] == [
        ("training", "S02", 20, "30"),
        ("credential", "S02", 29, "30"),
        ("line", "S01", 45, "60"),
    ]
    gaps = {(e.site, e.what, e.left) for e in found if e.kind == "gap"}
    assert ("S02", "Nobody for assessing outcomes blinded", -1) in gaps
    assert not [e for e in found if e.kind == "gap" and e.site == "S01"]
    assert not [e for e in world.read("research-nurse", lambda unit: delegations.expiring(unit, TRIAL)) if e.site == "S02"]
    assert world.read("trial-manager", lambda unit: delegations.expiring(unit, TRIAL, days=10))[0].kind == "gap"


def test_a_gap_is_told_before_it_opens(sqlite_world: World) -> None:
    """The only assessor of the site has a line that ends: from the day after on nobody could."""
    line = line_of(sqlite_world, builders.email("blinded-assessor", "S01"))
    sqlite_world.run("trial-manager", lambda unit: delegations.end(unit, TRIAL, line.id, TODAY + timedelta(days=15)))
    found = sqlite_world.read("principal-investigator", lambda unit: delegations.expiring(unit, TRIAL))
    assert [(e.kind, e.what, e.left) for e in found if e.site == "S01"] == [
        ("gap", "Nobody for assessing outcomes blinded", 14),
        ("line", "completing case report forms, assessing outcomes blinded", 14),
    ]


# --- training and credentials ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("role", ["principal-investigator", "research-nurse", "system-administrator", "monitor"])
def test_training_is_recorded_by_the_trial_manager_and_the_sponsor_only(sqlite_world: World, role: str) -> None:
    with pytest.raises(Forbidden) as refused:
        sqlite_world.run(role, lambda unit: delegations.train(unit, TRIAL, people.by_email(unit, NURSE), kind="gcp", on=TODAY))
    assert refused.value.code == "ROLE.TRAINING.RECORD"


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ({"kind": "dancing"}, "PEOPLE.TRAINING"),
        ({"on": TODAY + timedelta(days=1)}, "PEOPLE.FUTURE"),
        ({"valid_to": TODAY - timedelta(days=1)}, "PEOPLE.DAYS"),
        ({"certificate": ("certificate.exe", b"x")}, "FILE.TYPE"),
    ],
)
def test_training_that_cannot_be(sqlite_world: World, said: dict[str, Any], code: str) -> None:
    given = {"kind": "gcp", "on": TODAY, **said}
    with pytest.raises(TrialError) as refused:
        sqlite_world.run("sponsor", lambda unit: delegations.train(unit, TRIAL, people.by_email(unit, NURSE), **given))
    assert refused.value.code == code


def test_a_certificate_is_kept_and_read_by_who_reads_the_register(world: World) -> None:
    given = ("gcp.pdf", b"%PDF a certificate")
    account = world.actor("research-nurse")

    def work(unit: Unit) -> None:
        delegations.train(unit, TRIAL, people.by_email(unit, account.email), kind="gcp", on=TODAY, certificate=given)

    world.run("trial-manager", work)
    rows = world.read("principal-investigator", lambda unit: delegations.trainings(unit, TRIAL))
    (row,) = [row for row in rows if row.email == account.email]
    assert row.until == date(2029, 3, 9)
    kept: Evidence = world.read("monitor", lambda unit: delegations.certificate(unit, TRIAL, row.certificate))
    assert (kept.name, kept.content) == given
    letter = world.run("trial-manager", lambda unit: approvals.keep(unit, TRIAL, "other.pdf", b"%PDF a letter"))
    with pytest.raises(Missing):
        world.read("monitor", lambda unit: delegations.certificate(unit, TRIAL, letter))
    with pytest.raises(Forbidden):
        world.read("system-administrator", lambda unit: delegations.certificate(unit, TRIAL, row.certificate))


def test_a_later_credential_updates_the_count_and_keeps_the_number(world: World) -> None:
    surgeon = builders.email("surgeon", "S01")

    def record(**said: Any) -> int:
        given = {"site": "S01", "valid_from": TODAY, "cases": 14, **said}
        return world.run("trial-manager", lambda unit: delegations.credential(unit, TRIAL, people.by_email(unit, surgeon), **given))

    assert record() == 1
    with world.units.reading(SYSTEM) as unit:
        held = register.read(unit, TRIAL).credential(1, TODAY, site="S01")
        assert held is not None
        assert held.cases == 14
        assert len(list(unit.session.scalars(select(Credential).where(Credential.surgeon == 1)))) == 2
    for wrong in (2, 7):
        with pytest.raises(Conflict) as refused:
            record(surgeon=wrong)
        assert refused.value.code == "PEOPLE.SURGEON"
    pi = builders.email("principal-investigator", "S01")
    given = {"site": "S01", "valid_from": TODAY, "cases": 5}
    assert world.run("sponsor", lambda unit: delegations.credential(unit, TRIAL, people.by_email(unit, pi), **given)) == 3


# --- people files ----------------------------------------------------------------------------------------------------


def entry(email: str, *, paper: bool = False) -> PersonEntry:
    line = {"tasks": ["crf"], "site": "S01", "start": TODAY - timedelta(days=30), "signed_by_pi": paper}
    return PersonEntry(email, "Somebody", (("research-nurse", "S01"),), (line,), ({"kind": "gcp", "on": TODAY},), None)


@pytest.mark.parametrize(("paper", "expected"), [(True, "in_force"), (False, "signature")])
def test_lines_of_a_file_are_a_copy_of_the_paper_log_or_wait(world: World, paper: bool, expected: str) -> None:
    for created in (1, 0):
        assert len(world.run("trial-manager", lambda unit: delegations.load(unit, TRIAL, [entry(NEW, paper=paper)]))) == created
    with world.units.reading(SYSTEM) as unit:
        (line,) = [line for line in delegations.lines(unit, TRIAL) if line.email == NEW]
    assert (line.paper, line.state(TODAY)) == (paper, expected)


def test_an_administrator_loads_accounts_and_no_lines(sqlite_world: World) -> None:
    with pytest.raises(Forbidden) as refused:
        sqlite_world.run("system-administrator", lambda unit: delegations.load(unit, TRIAL, [entry(NEW)]))
    assert refused.value.code == "ROLE.DELEGATION.PROPOSE"
    with sqlite_world.units.reading(SYSTEM) as unit:
        assert not [
            row for row in unit.session.scalars(select(Delegation)) if row.account_id not in {a.id for a in sqlite_world.actors.values()}
        ]


def test_every_task_of_the_log_has_its_words() -> None:
    assert set(delegations.NEEDED_TASKS) | {"unblind"} == set(roles.TASKS)


# --- how much is asked -----------------------------------------------------------------------------------------------


def statements(world: World, role: str, work: Callable[[Unit], Any]) -> int:
    """How many statements a reading sends to the database."""
    sent: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        sent.append(statement)

    event.listen(world.instance.engine, "before_cursor_execute", note)
    try:
        world.read(role, work)
    finally:
        event.remove(world.instance.engine, "before_cursor_execute", note)
    return len(sent)


#: A reading -> how it is asked.
READINGS: dict[str, Callable[[Unit], Any]] = {
    "accounts": people.everybody,
    "what waits": lambda unit: delegations.waiting_for(unit, TRIAL),
    "what runs out": lambda unit: delegations.expiring(unit, TRIAL),
}


@pytest.mark.parametrize("reading", READINGS)
def test_a_list_asks_the_database_no_more_often_for_more_accounts_lines_and_sites(sqlite_world: World, reading: str) -> None:
    before = statements(sqlite_world, "trial-manager", READINGS[reading])
    for number in range(3):
        email = f"more{number}@trial.example"
        newcomer(sqlite_world, email=email)
        sqlite_world.run(
            "trial-manager",
            lambda unit, email=email: delegations.transcribe(
                unit, TRIAL, people.by_email(unit, email), tasks=("crf",), start=TODAY, site="S01"
            ),
        )
    assert statements(sqlite_world, "trial-manager", READINGS[reading]) == before
    assert before <= len(sqlite_world.protocol.sites)

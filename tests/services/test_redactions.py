"""Removing a value that was entered by mistake: two people, every copy, and every proof still holds."""

from typing import Any

import pytest
from sqlalchemy import select, text

from tests import builders
from tests.builders import TRIAL, World
from trialdm.domain.errors import Conflict, Forbidden, Invalid, Missing, WrongState
from trialdm.services import anchors, drafts, places, proof, queries, redactions, sealing, trail
from trialdm.services.unit import SYSTEM
from trialdm.store.tables import AuditEvent, AuditValue

#: What somebody typed into a free text.
NAME = "Ermintrude Featherstonehaugh"
PLACE = ("V01", "CLIN")


def mistaken(world: World) -> tuple[str, str]:
    """A participant whose form held a name until it was corrected; a query quoted it. Gives the participant and the entry."""
    ident = builders.consented(world)
    wrong = {**builders.CLINICAL, "aetiol_main": 6, "cancer_site": NAME, "dm_type": None}
    builders.put(world, ident, *PLACE, {**wrong, **planned(world)})
    at = (ident, *PLACE)
    world.run("research-nurse", lambda unit: drafts.keep(unit, places.locate(unit, TRIAL, *at), {"cancer_site": [NAME]}, 1))
    asked = f"Who is {NAME}?"
    world.run("data-manager", lambda unit: queries.ask(unit, places.locate(unit, TRIAL, *at), "cancer_site", asked))
    return ident, entry_of(world, "cancer_site")


def planned(world: World) -> dict[str, Any]:
    return {"surg_date_plan": (world.now.date()).isoformat(), "surgeon_plan": 1}


def corrected(world: World, ident: str) -> None:
    clean = {**builders.CLINICAL, "aetiol_main": 6, "cancer_site": "Sarcoma", "dm_type": None, **planned(world)}
    builders.put(world, ident, *PLACE, clean, reason="typing")


def entry_of(world: World, field: str) -> str:
    with world.units.reading(SYSTEM) as unit:
        return str(unit.session.scalars(select(AuditEvent.event_id).where(AuditEvent.field == field).order_by(AuditEvent.seq)).first())


def ask(world: World, event: str, reason: str = "a name in a free text", role: str = "data-manager") -> None:
    world.run(role, lambda unit: redactions.ask(unit, TRIAL, event, reason))


def confirm(world: World, event: str, role: str = "trial-manager") -> int:
    return world.run(role, lambda unit: redactions.confirm(unit, TRIAL, event))


def everything(world: World) -> str:
    """Every cell of every table, as text."""
    from trialdm.store.tables import Table

    with world.instance.engine.connect() as connection:
        return "\n".join(str(row) for table in Table.metadata.sorted_tables for row in connection.execute(select(table)))


def test_the_value_is_gone_everywhere_and_every_proof_holds(world: World) -> None:
    ident, event = mistaken(world)
    sealing.seal_all(world.units)
    receipt = world.read("unblinded-data-manager", lambda unit: anchors.receipt(unit, TRIAL, event))
    corrected(world, ident)
    assert NAME in everything(world)
    ask(world, event)
    assert confirm(world, event) >= 5
    sealing.seal_all(world.units)
    assert NAME not in everything(world)
    if world.instance.engine.dialect.name == "sqlite":
        world.instance.engine.dispose()
        assert NAME.encode() not in (world.instance.settings.folder / "trialdm.db").read_bytes()
    with world.units.reading(SYSTEM) as unit:
        found = proof.verify(unit)
        assert (found.findings, found.open) == ([], [])
        assert found.redacted >= 3
        assert anchors.verify_receipt(receipt, anchors.public_key(unit))
    lines = world.read("data-manager", lambda unit: trail.of_trial(unit, TRIAL, trail.Filter(field="cancer_site")))
    assert [line.new for line in lines if line.action in ("form.finish", "form.amend")] == [trail.REMOVED, "Sarcoma"]
    done = world.read("data-manager", lambda unit: redactions.of_trial(unit, TRIAL))
    assert [(one.state, one.field, one.reason) for one in done] == [("removed", "cancer_site", "a name in a free text")]


def test_one_person_alone_removes_nothing(sqlite_world: World) -> None:
    ident, event = mistaken(sqlite_world)
    corrected(sqlite_world, ident)
    with pytest.raises(WrongState):
        confirm(sqlite_world, event)
    ask(sqlite_world, event)
    with pytest.raises(Forbidden):
        confirm(sqlite_world, event, "data-manager")
    with pytest.raises(Conflict):
        ask(sqlite_world, event)
    sqlite_world.run("sponsor", lambda unit: redactions.decline(unit, TRIAL, event, "it is a disease"))
    with pytest.raises(WrongState):
        confirm(sqlite_world, event)
    assert NAME in everything(sqlite_world)


def test_what_the_form_holds_now_is_corrected_first(sqlite_world: World) -> None:
    _, event = mistaken(sqlite_world)
    with pytest.raises(WrongState) as refused:
        ask(sqlite_world, event)
    assert refused.value.code == "AUDIT.STILL_THERE"


@pytest.mark.parametrize("reason", ["", ".", f"it says {NAME}"])
def test_a_reason_says_why_and_does_not_repeat_the_value(sqlite_world: World, reason: str) -> None:
    ident, event = mistaken(sqlite_world)
    corrected(sqlite_world, ident)
    with pytest.raises(Invalid):
        ask(sqlite_world, event, reason)


def test_who_may_not_read_an_entry_asks_nothing_about_it(sqlite_world: World) -> None:
    ident, event = mistaken(sqlite_world)
    corrected(sqlite_world, ident)
    with pytest.raises(Forbidden):
        ask(sqlite_world, event, role="monitor")
    with sqlite_world.units.reading(SYSTEM) as unit:
        hidden = unit.session.scalars(select(AuditEvent.event_id).where(AuditEvent.stream == "unblinded")).first()
        other = unit.session.scalars(select(AuditEvent.event_id).where(AuditEvent.field == "status")).first()
    for unreadable in (hidden, "nothing"):
        if unreadable:
            with pytest.raises(Missing):
                ask(sqlite_world, unreadable)
    with pytest.raises(WrongState):
        ask(sqlite_world, str(other))


def test_the_guards_hold_outside_of_a_removal(world: World) -> None:
    mistaken(world)
    for statement in ("DELETE FROM audit_value", "UPDATE form_version SET data = '{}'", "DELETE FROM query_act"):
        with pytest.raises(Exception, match="append-only"), world.instance.engine.begin() as connection:
            connection.execute(text(statement))


def test_a_word_is_removed_nowhere_else_and_tells_nothing_of_arms(world: World) -> None:
    """Whatever was typed, and however common: an allocation, an approval and other people's answers stay."""
    idents = [builders.randomised(world) for _ in range(4)]
    arms = select(AuditValue.value).join(AuditEvent, AuditEvent.event_id == AuditValue.event_id).where(AuditEvent.field == "arm")
    with world.units.reading(SYSTEM) as unit:
        before = unit.session.scalars(arms).all()
    event = {"ae_ser": 0, "ae_sev": 1}
    builders.put(world, idents[0], "EV", "AE", {"ae_term": "Fell", **event})
    for words in ("TMR", "Standard", "the"):
        for term in (words, "Fell"):
            builders.put(world, idents[0], "EV", "AE", {"ae_term": term, **event}, reason="typing")
        with world.units.reading(SYSTEM) as unit:
            held = select(AuditEvent.event_id).join(AuditValue, AuditValue.event_id == AuditEvent.event_id)
            here = (AuditEvent.field == "ae_term", AuditValue.value == f'"{words}"', AuditValue.which == "new")
            entry = unit.session.scalars(held.where(*here)).one()
        ask(world, entry)
        assert confirm(world, entry) == 3, "as the new value, as the old one, and in one version"
    with world.units.reading(SYSTEM) as unit:
        assert unit.session.scalars(arms).all() == before

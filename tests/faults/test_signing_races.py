"""Somebody changes a form between the moment at which another person reads it and the moment at which they sign, verify or answer.

What is signed, marked or confirmed is what stands when it is done, or nothing is.
"""

from collections.abc import Callable
from threading import Thread
from typing import Any

import pytest
from sqlalchemy import select

from tests import builders
from tests.builders import PASSWORD, TRIAL, World
from tests.services.test_signatures import amend
from trialdm.domain.errors import Forbidden, Stale, TrialError
from trialdm.services import casebooks, participants, places, queries, records, signatures, studies, transfers, verification
from trialdm.services.casebooks import Casebook
from trialdm.services.unit import SYSTEM, Unit
from trialdm.store.tables import FormInstance, Query, QueryAct

DEMO = ("V01", "DEMO", 1)


def while_another(world: World, role: str, act: Callable[[Unit, Casebook], Any], ident: str, meanwhile: Callable[[], Any]) -> Any:
    """The person reads the casebook; `meanwhile` is done by somebody else and committed; then the person acts, in the same transaction.

    Where the database lets nobody write meanwhile, the other one waits and comes after.
    """
    others: list[Thread] = []

    def work(unit: Unit) -> Any:
        book = casebooks.read(unit, TRIAL, participants.find(unit, TRIAL, ident))
        assert book.forms
        if not others:
            others.append(Thread(target=meanwhile))
            others[0].start()
            others[0].join(2 if world.instance.engine.dialect.name == "sqlite" else 30)
        return act(unit, book)

    try:
        return world.run(role, work)
    finally:
        others[0].join(60)


def marks(world: World, ident: str) -> tuple[str, int, Any]:
    with world.units.reading(SYSTEM) as unit:
        where = (FormInstance.participant_id == ident, FormInstance.form == "DEMO")
        one = unit.session.scalars(select(FormInstance).where(*where)).one()
        return one.status, one.seq, signatures.marks(unit, TRIAL, one.id)


@pytest.mark.parametrize("read", [None, 1], ids=["whatever stands", "what was read"])
def test_a_signature_is_under_what_stands(world: World, read: int | None) -> None:
    ident = builders.ready(world)

    def sign(unit: Unit, book: Casebook) -> Any:
        return signatures.sign(unit, studies.protocol(unit, TRIAL), book, {DEMO: read}, PASSWORD)

    try:
        while_another(world, "principal-investigator", sign, ident, lambda: amend(world, ident, height_cm="171.0"))
    except Stale:
        assert read is not None
    status, version, found = marks(world, ident)
    assert (status == "signed") == (found.signature is not None)
    assert found.signature is None or found.signature.version == version
    assert world.run("trial-manager", lambda unit: signatures.check(unit, TRIAL)) in (0, 1)


@pytest.mark.parametrize("read", [None, 1], ids=["whatever stands", "what was read"])
def test_a_mark_is_at_what_stands(world: World, read: int | None) -> None:
    ident = builders.ready(world)

    def verify(unit: Unit, book: Casebook) -> Any:
        return verification.verify(unit, studies.protocol(unit, TRIAL), book, DEMO, ["height_cm"], seen=read)

    try:
        while_another(world, "monitor", verify, ident, lambda: amend(world, ident, height_cm="171.0"))
    except Stale:
        assert read is not None
    _, version, found = marks(world, ident)
    assert not found.verified("height_cm") or found.verified_by.version == version


def event(world: World, ident: str) -> None:
    builders.put(world, ident, "EV", "AE", {"ae_term": "Cough", "ae_ser": 0, "ae_sev": 1})


@pytest.mark.parametrize("knows", [False, True], ids=["whatever stands", "what was read"])
def test_a_casebook_signature_covers_every_form(world: World, knows: bool) -> None:
    ident = builders.ready(world)
    with world.units.reading(world.actor("principal-investigator")) as unit:
        seen = signatures.standing(unit, TRIAL, ident) if knows else ""

    def sign(unit: Unit, book: Casebook) -> Any:
        return signatures.sign_casebook(unit, studies.protocol(unit, TRIAL), book, PASSWORD, seen=seen)

    try:
        while_another(world, "principal-investigator", sign, ident, lambda: event(world, ident))
    except Stale:
        assert knows
    with world.units.reading(world.actor("principal-investigator")) as unit:
        signed = signatures.of_casebook(unit, TRIAL, ident).signature
        assert signed is None or signed.content == signatures.standing(unit, TRIAL, ident)


def test_a_confirmed_answer_is_the_one_that_stands(world: World) -> None:
    ident = builders.ready(world)
    asked = world.run(
        "data-manager", lambda unit: queries.ask(unit, places.locate(unit, TRIAL, ident, *DEMO[:2]), "height_cm", "Right?").id
    )

    def confirm(unit: Unit, book: Casebook) -> Any:
        return queries.answer(unit, TRIAL, asked, "confirmed", "")

    while_another(world, "research-nurse", confirm, ident, lambda: amend(world, ident, height_cm="171.0"))
    with world.units.reading(SYSTEM) as unit:
        row = unit.session.get_one(Query, (TRIAL, asked))
        acts = unit.session.scalars(select(QueryAct).where(QueryAct.query_id == asked).order_by(QueryAct.seq)).all()
    assert row.state != "answered" or acts[-1].value == '"171.0"'


def test_a_site_that_has_handed_somebody_on_saves_nothing_more(world: World) -> None:
    ident = builders.randomised(world)
    refused: list[TrialError] = []

    def hand_on() -> None:
        world.run("trial-manager", lambda unit: transfers.transfer(unit, TRIAL, ident, "S02", builders.TODAY, "The family moved"))

    def save(unit: Unit, book: Casebook) -> Any:
        place = places.locate(unit, TRIAL, ident, "EV", "AE")
        return records.save(unit, place, records.Submission({"ae_term": "Cough"}))

    try:
        while_another(world, "research-nurse", save, ident, hand_on)
    except Forbidden as problem:
        refused.append(problem)
    assert bool(refused) == (world.instance.engine.dialect.name != "sqlite"), "SQLite lets nobody write meanwhile"

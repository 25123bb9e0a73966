"""The unit of work: no change without its audit entry, no row changed behind the database's back."""

import pytest
from sqlalchemy import select, text, update
from sqlalchemy.exc import DBAPIError

from tests import builders
from tests.builders import TRIAL, World
from trialdm.domain import roles
from trialdm.domain.audit import Entry, authenticate, commit
from trialdm.domain.errors import Broken, Conflict, Forbidden, Invalid
from trialdm.domain.roles import Grant
from trialdm.services import people, sessions, tokens, trail
from trialdm.services.unit import SYSTEM, Unit, Unrecorded
from trialdm.store.migrate import newest, revision
from trialdm.store.tables import APPEND_ONLY, Account, AuditEvent, AuditValue, Status


def test_a_changed_row_without_an_entry_is_not_committed(world: World) -> None:
    def rename(unit: Unit) -> None:
        unit.session.scalars(select(Account).limit(1)).one().name = "Somebody else"

    with pytest.raises(Unrecorded):
        world.run("trial-manager", rename)
    with world.units.reading(SYSTEM) as unit:
        assert "Somebody else" not in unit.session.scalars(select(Account.name)).all()


@pytest.mark.parametrize(
    ("code", "words", "kept"),
    [("", "", True), ("", "seen", True), ("typing", ".", True), ("", ".", False), ("other", "--", False), ("", "999 000 0018 seen", False)],
)
def test_no_act_keeps_a_reason_that_says_nothing_or_names_somebody(sqlite_world: World, code: str, words: str, kept: bool) -> None:
    def act(unit: Unit) -> None:
        unit.record("noted", trial=TRIAL, entity="trial", entity_id=TRIAL, reason_code=code, reason_text=words)

    if kept:
        sqlite_world.run("trial-manager", act)
        return
    with pytest.raises(Invalid):
        sqlite_world.run("trial-manager", act)


def test_a_reading_unit_writes_nothing(world: World) -> None:
    with world.units.reading(world.actor("trial-manager")) as unit:
        sessions.sign_in(unit, builders.email("trial-manager", ""), "wrong")
    with world.units.reading(SYSTEM) as unit:
        assert unit.session.scalars(select(AuditEvent).where(AuditEvent.action == "sign-in.fail")).all() == []


@pytest.mark.parametrize("table", ["audit_event", "audit_value", "status", "register_entry", "role_grant", "definition"])
@pytest.mark.parametrize("statement", ["UPDATE {0} SET {1} = {1}", "DELETE FROM {0}"])
def test_the_database_refuses_to_change_what_is_append_only(world: World, table: str, statement: str) -> None:
    column = {"audit_event": "action", "audit_value": "value", "status": "state", "register_entry": "data", "role_grant": "role"}.get(
        table, "version"
    )
    assert table in APPEND_ONLY
    with pytest.raises(DBAPIError, match="append-only"), world.instance.engine.begin() as connection:
        connection.execute(text(statement.format(table, column)))


def test_sqlite_refuses_insert_or_replace_too(sqlite_world: World) -> None:
    with pytest.raises(DBAPIError, match="append-only"), sqlite_world.instance.engine.begin() as connection:
        connection.execute(text("INSERT OR REPLACE INTO audit_event SELECT * FROM audit_event LIMIT 1"))


def test_every_entry_carries_a_code_that_its_fields_and_values_answer_to(world: World) -> None:
    builders.randomised(world)
    with world.units.reading(SYSTEM) as unit:
        assert trail.verify(unit) > 100
        event = unit.session.scalars(select(AuditEvent).where(AuditEvent.field == "limb").limit(1)).one()
        value = unit.session.get(AuditValue, (event.event_id, "new"))
        assert event.new_commit == commit(value.salt, 1)
        names = Entry.__dataclass_fields__
        assert authenticate(world.units.keys.audit, Entry(**{n: getattr(event, n) for n in names})) == event.mac


@pytest.mark.parametrize(
    ("table", "change", "code"),
    [
        (AuditEvent, {"actor_id": "somebody else"}, "AUDIT.ROW"),
        (AuditEvent, {"at_utc": "2020-01-01T00:00:00.000000+00:00"}, "AUDIT.ROW"),
        (AuditValue, {"value": "99"}, "AUDIT.VALUE"),
    ],
)
def test_a_row_changed_by_the_owner_of_the_file_is_found(sqlite_world: World, table: type, change: dict[str, str], code: str) -> None:
    builders.consented(sqlite_world)
    with sqlite_world.instance.engine.begin() as connection:
        connection.execute(text(f"DROP TRIGGER guard_{table.__tablename__}_update"))
        some = select(table.event_id).where(table.event_id.in_(select(AuditEvent.event_id).where(AuditEvent.field == "con_route"))).limit(1)
        ident = connection.execute(some).scalar_one()
        connection.execute(update(table).where(table.event_id == ident).values(**change))
    with sqlite_world.units.reading(SYSTEM) as unit, pytest.raises(Broken) as found:
        trail.verify(unit)
    assert found.value.code == code


def test_a_migrated_database_stands_at_the_newest_revision(world: World) -> None:
    assert revision(world.instance.engine) == newest()


# --- people ----------------------------------------------------------------------------------------------------------


def test_nobody_gives_themselves_a_role(world: World) -> None:
    own = world.actor("trial-manager").email
    with pytest.raises(Forbidden) as refused:
        world.run("trial-manager", lambda unit: people.give(unit, people.by_email(unit, own), "sponsor", TRIAL))
    assert refused.value.code == "PEOPLE.OWN_ROLE"


def test_roles_that_one_person_may_not_join_are_refused(world: World) -> None:
    email = world.actor("surgeon").email
    with pytest.raises(Conflict):
        world.run("trial-manager", lambda unit: people.give(unit, people.by_email(unit, email), "blinded-assessor", TRIAL, "S01"))


def test_an_ended_role_is_gone_with_the_next_unit(world: World) -> None:
    email = world.actor("monitor").email
    world.run("trial-manager", lambda unit: people.end_role(unit, people.by_email(unit, email), "monitor", "*"))
    with world.units.reading(SYSTEM) as unit:
        assert people.grants(unit, people.by_email(unit, email).id) == ()


def test_signing_in_gives_a_session_that_signing_out_ends(world: World) -> None:
    email = world.actor("monitor").email
    secret = world.units.run(SYSTEM, lambda unit: sessions.sign_in(unit, email, builders.PASSWORD))
    assert secret
    with world.units.reading(SYSTEM) as unit:
        assert sessions.session_of(unit, secret) is not None
    world.units.run(SYSTEM, lambda unit: sessions.sign_out(unit, secret))
    with world.units.reading(SYSTEM) as unit:
        assert sessions.session_of(unit, secret) is None


def test_an_idle_session_ends(world: World) -> None:
    secret = world.units.run(SYSTEM, lambda unit: sessions.sign_in(unit, world.actor("monitor").email, builders.PASSWORD))
    world.now += sessions.IDLE * 1.01
    with world.units.reading(SYSTEM) as unit:
        assert sessions.session_of(unit, secret or "") is None


def test_guessing_is_slowed_down_and_the_right_password_has_to_wait_too(world: World) -> None:
    email = world.actor("monitor").email
    for _ in range(8):
        assert world.units.run(SYSTEM, lambda unit: sessions.sign_in(unit, email, "wrong-password-x")) is None
    assert world.units.run(SYSTEM, lambda unit: sessions.sign_in(unit, email, builders.PASSWORD)) is None
    world.now += sessions._SLOWEST * 1.1
    assert world.units.run(SYSTEM, lambda unit: sessions.sign_in(unit, email, builders.PASSWORD))


def test_no_password_and_no_token_is_stored(world: World) -> None:
    actor = world.actor("monitor")
    token = world.run("monitor", lambda unit: tokens.create(unit, people.by_email(unit, actor.email), "script"))
    with world.instance.engine.connect() as connection:
        for table in ("account", "api_token", "web_session", "audit_value"):
            for row in connection.execute(text(f"SELECT * FROM {table}")):
                assert not any(token in str(cell) or builders.PASSWORD in str(cell) for cell in row)


def test_nobody_makes_a_token_of_somebody_else(world: World) -> None:
    for role in ("trial-manager", "system-administrator"):
        with pytest.raises(Forbidden) as refused:
            world.run(role, lambda unit: tokens.create(unit, people.by_email(unit, world.actor("sponsor").email), "script"))
        assert refused.value.code == "PEOPLE.OWN_TOKEN"


def test_a_site_role_covers_its_site_only() -> None:
    nurse = [Grant("research-nurse", TRIAL, "S01")]
    assert roles.may(nurse, "participant.add", TRIAL, "S01")
    assert not roles.may(nurse, "participant.add", TRIAL, "S02")
    assert not roles.may(nurse, "participant.add", "another", "S01")


def test_states_are_written_and_never_overwritten(world: World) -> None:
    ident = builders.randomised(world)
    with world.units.reading(SYSTEM) as unit:
        states = unit.session.scalars(select(Status.state).where(Status.subject == ident).order_by(Status.seq)).all()
    assert states == ["screened", "consented", "eligible", "randomised"]

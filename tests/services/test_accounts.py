"""Accounts: invited, never given a password by others; second factors that work once; sessions that end; tokens for named purposes."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pyotp
import pytest
from sqlalchemy import select

from tests import builders
from tests.builders import TRIAL, World
from trialdm.domain.errors import Invalid, Missing, SignedOut, TrialError, WrongState
from trialdm.services import mail, notices, people, second_factors, sessions, tickets, tokens
from trialdm.services.unit import NOBODY, SYSTEM, Actor, Unit, Unproved
from trialdm.store.tables import Account, AuditEvent, Outgoing, SecondFactor, Ticket

NEW = "new@trial.example"
GOOD = "copper lantern vivid mole"
ADMIN = "system-administrator"


def code_of(work: Callable[[], Any]) -> str:
    with pytest.raises(TrialError) as refused:
        work()
    return refused.value.code


def invite(world: World, email: str = NEW) -> str:
    def work(unit: Unit) -> str:
        account = people.add(unit, email, "New Person", held=[("monitor", "")], trial=TRIAL)
        return tickets.issue(unit, account, "invitation")

    return world.run(ADMIN, work)


def use(world: World, code: str, password: str = GOOD) -> Account:
    return world.units.run(SYSTEM, lambda unit: tickets.use(unit, code, password))


def sign_in(world: World, email: str, password: str, **about: Any) -> str | None:
    return world.units.run(SYSTEM, lambda unit: sessions.sign_in(unit, email, password, **about))


def stage(world: World, secret: str | None) -> str:
    with world.units.reading(SYSTEM) as unit:
        found = sessions.session_of(unit, secret or "")
        return found[0].stage if found else "none"


def on_pages(world: World, role: str, proved: bool = True) -> Actor:
    """The person as they act on pages, with a proof just now or none."""
    one = world.actor(role)
    with world.units.reading(SYSTEM) as unit:
        return people.actor(unit, people.by_email(unit, one.email), "web", "r", unit.now if proved else None)


# --- invitations and resets ------------------------------------------------------------------------------------------


def test_an_invited_person_sets_their_own_password_once(world: World) -> None:
    code = invite(world)
    assert sign_in(world, NEW, "") is None
    assert sign_in(world, NEW, GOOD) is None
    assert use(world, code).state == "active"
    assert stage(world, sign_in(world, NEW, GOOD)) == "full"
    assert code_of(lambda: use(world, code)) == "AUTH.TICKET"


def test_a_code_is_refused_alike_whatever_is_wrong_with_it(sqlite_world: World) -> None:
    world = sqlite_world
    code = invite(world)
    ident, _, mac = code.partition("-")
    for wrong in ("", "x", ident, f"{ident}-", f"{ident}-{mac[:-1]}x", f"{'0' * 16}-{mac}", mac, "é" * 40):
        assert code_of(lambda wrong=wrong: use(world, wrong)) == "AUTH.TICKET"  # type: ignore[misc]
    later = world.run(ADMIN, lambda unit: tickets.issue(unit, people.by_email(unit, NEW), "invitation"))
    assert code_of(lambda: use(world, code)) == "AUTH.TICKET", "replaced"
    world.now += tickets.KINDS["invitation"]
    assert code_of(lambda: use(world, later)) == "AUTH.TICKET", "too old"


@pytest.mark.parametrize("password", ["short", "passwordpassword", "qwertyuiop12", "new@trial.example", "trialdmtrialdm", "a" * 200])
def test_a_password_that_would_be_guessed_is_refused(sqlite_world: World, password: str) -> None:
    code = invite(sqlite_world)
    assert code_of(lambda: use(sqlite_world, code, password)) == "PEOPLE.PASSWORD"
    assert use(sqlite_world, code).state == "active", "the code is still good"


def test_the_database_holds_no_code_and_the_mail_gets_it_when_it_is_sent(sqlite_world: World) -> None:
    code = invite(sqlite_world)
    with sqlite_world.units.reading(SYSTEM) as unit:
        text = unit.session.scalars(select(Outgoing.body).where(Outgoing.to == NEW)).one()
        assert code not in text
        assert code.partition("-")[2] not in str([vars(row) for row in unit.session.scalars(select(Ticket))])
        sent = tickets.filled(text, "https://trial.example", unit.keys.accounts)
        assert code in sent
        assert "https://trial.example/password/set" in sent
        assert mail.status(unit)["waiting"] >= 1


def test_a_reset_ends_every_session_and_tells_the_person(world: World) -> None:
    email = world.actor("monitor").email
    secret = sign_in(world, email, builders.PASSWORD)
    code = world.run(ADMIN, lambda unit: tickets.issue(unit, people.by_email(unit, email), "reset"))
    assert stage(world, secret) == "full", "nothing ends before the person acts"
    use(world, code)
    assert stage(world, secret) == "none"
    assert sign_in(world, email, builders.PASSWORD) is None
    with world.units.reading(SYSTEM) as unit:
        told = unit.session.scalars(select(Outgoing.subject).where(Outgoing.to == email)).all()
    assert "trialdm: your account (password)" in told


def test_asking_for_a_reset_tells_nobody_whether_there_is_an_account(sqlite_world: World) -> None:
    world, known = sqlite_world, sqlite_world.actor("monitor").email
    for email in (known, "nobody@trial.example"):
        for _ in range(9):
            assert world.units.run(SYSTEM, lambda unit, email=email: tickets.ask_reset(unit, email)) is None
    with world.units.reading(SYSTEM) as unit:
        asked = [row for row in unit.session.scalars(select(Outgoing)) if "sign-in" in row.subject]
        assert [row.to for row in asked] == [known] * 5, "and nobody is flooded with mails"


RESETS: list[tuple[str, str, str, str]] = [
    ("trial-manager", "system-administrator", "reset", "sent"),
    ("monitor", "sponsor", "reset", "ROLE.PEOPLE.MANAGE"),
    (ADMIN, ADMIN, "reset", "PEOPLE.OWN_ACCOUNT"),
    (ADMIN, "monitor", "reset with second factors", "PEOPLE.REASON"),
    (ADMIN, "monitor", "invitation", "AUTH.TICKET"),
    (ADMIN, "monitor", "gift", "AUTH.TICKET"),
]


@pytest.mark.parametrize(("who", "whose", "kind", "answer"), RESETS)
def test_who_starts_a_reset_of_whom(sqlite_world: World, who: str, whose: str, kind: str, answer: str) -> None:
    world, email = sqlite_world, sqlite_world.actor(whose).email

    def start() -> Any:
        return world.run(who, lambda unit: tickets.issue(unit, people.by_email(unit, email), kind))

    if answer == "sent":
        assert "-" in start()
    else:
        assert code_of(start) == answer


def test_a_code_that_could_take_an_account_over_is_shown_to_nobody_else(sqlite_world: World) -> None:
    email = sqlite_world.actor("monitor").email

    def start(by_mail: bool, kind: str = "reset with second factors") -> str:
        about = {"by_mail": by_mail}
        return sqlite_world.run(ADMIN, lambda unit: tickets.issue(unit, people.by_email(unit, email), kind, "lost telephone", **about))

    assert code_of(lambda: start(False)) == "AUTH.NO_MAIL"
    assert code_of(lambda: start(False, "reset")) == "AUTH.NO_MAIL", "without a second factor the code alone opens it"
    assert start(True)
    with_app(sqlite_world)
    assert start(False, "reset"), "the second factor still stands before the account"


def test_a_closed_account_is_out_at_once_and_comes_back_by_invitation_only(world: World) -> None:
    actor = world.actor("monitor")
    secret = sign_in(world, actor.email, builders.PASSWORD)
    token = world.run("monitor", lambda unit: tokens.create(unit, people.by_email(unit, actor.email), "script"))
    world.run(ADMIN, lambda unit: people.close(unit, people.by_email(unit, actor.email), "left the trial"))
    assert stage(world, secret) == "none"
    assert sign_in(world, actor.email, builders.PASSWORD) is None
    with world.units.reading(SYSTEM) as unit, pytest.raises(SignedOut):
        people.actor(unit, tokens.account_of(unit, token)[0], "api")
    assert (
        code_of(lambda: world.run(ADMIN, lambda unit: people.close(unit, people.by_email(unit, actor.email), "twice"))) == "STATE.ACCOUNT"
    )
    code = world.run(ADMIN, lambda unit: tickets.issue(unit, people.by_email(unit, actor.email), "invitation", "back again"))
    assert sign_in(world, actor.email, builders.PASSWORD) is None, "the old password opens nothing"
    assert use(world, code).staff_no == actor.staff_no


def test_one_changes_ones_own_password_with_the_old_one(sqlite_world: World) -> None:
    world, actor = sqlite_world, sqlite_world.actor("monitor")
    here, there = (sign_in(world, actor.email, builders.PASSWORD) for _ in range(2))
    assert not world.run("monitor", lambda unit: tickets.change_password(unit, "wrong", GOOD, but=here or ""))
    assert (
        code_of(lambda: world.run("monitor", lambda unit: tickets.change_password(unit, builders.PASSWORD, "short"))) == "PEOPLE.PASSWORD"
    )
    assert world.run("monitor", lambda unit: tickets.change_password(unit, builders.PASSWORD, GOOD, but=here or ""))
    assert (stage(world, here), stage(world, there)) == ("full", "none")


# --- second factors --------------------------------------------------------------------------------------------------


def with_app(world: World, role: str = "monitor") -> tuple[pyotp.TOTP, list[str]]:
    secret = second_factors.new_secret()
    app = pyotp.TOTP(secret)
    codes = world.units.run(on_pages(world, role), lambda unit: second_factors.add_app(unit, secret, app.at(unit.now), "telephone"))
    world.now += timedelta(seconds=30)
    return app, codes


def proves(world: World, secret: str, code: str) -> bool:
    def work(unit: Unit) -> bool:
        found = sessions.session_of(unit, secret)
        assert found
        return second_factors.proved_by_code(unit, found[0], code)

    return world.units.run(SYSTEM, work)


def test_a_code_of_the_app_works_once_and_around_its_time_only(world: World) -> None:
    app, _ = with_app(world)
    secret = sign_in(world, world.actor("monitor").email, builders.PASSWORD) or ""
    assert stage(world, secret) == "second"
    code = app.at(world.now)
    assert not proves(world, secret, app.at(world.now + timedelta(seconds=90)))
    assert not proves(world, secret, "000000" if code != "000000" else "111111")
    assert proves(world, secret, f"{code[:3]} {code[3:]}")
    assert not proves(world, secret, code), "not twice"
    raised = world.units.run(SYSTEM, lambda unit: sessions.raised(unit, secret))
    assert (stage(world, secret), stage(world, raised)) == ("none", "full")


def test_a_recovery_code_works_once_and_its_use_is_told(world: World) -> None:
    _, codes = with_app(world)
    assert len(set(codes)) == 10
    secret = sign_in(world, world.actor("monitor").email, builders.PASSWORD) or ""
    assert proves(world, secret, codes[0].upper())
    assert not proves(world, secret, codes[0])
    with world.units.reading(SYSTEM) as unit:
        assert second_factors.codes_left(unit, world.actor("monitor").id) == 9
        assert any("9 are left" in body for body in unit.session.scalars(select(Outgoing.body)))
    made = world.units.run(on_pages(world, "monitor"), second_factors.new_codes)
    assert not proves(world, secret, codes[1]), "earlier codes are worth nothing"
    assert proves(world, secret, made[1])


def test_guessing_codes_is_slowed_down(sqlite_world: World) -> None:
    app, codes = with_app(sqlite_world)
    secret = sign_in(sqlite_world, sqlite_world.actor("monitor").email, builders.PASSWORD) or ""
    for number in range(8):
        assert not proves(sqlite_world, secret, f"{number:06}" if f"{number:06}" != app.at(sqlite_world.now) else "999999")
    assert not proves(sqlite_world, secret, app.at(sqlite_world.now))
    assert not proves(sqlite_world, secret, codes[0])


def test_a_half_signed_in_session_ends_after_minutes(sqlite_world: World) -> None:
    with_app(sqlite_world)
    secret = sign_in(sqlite_world, sqlite_world.actor("monitor").email, builders.PASSWORD)
    sqlite_world.now += timedelta(minutes=11)
    assert stage(sqlite_world, secret) == "none"


def test_where_a_second_factor_is_needed_one_is_set_up_first(sqlite_world: World) -> None:
    email = sqlite_world.actor("monitor").email
    assert stage(sqlite_world, sign_in(sqlite_world, email, builders.PASSWORD, second_needed=True)) == "enrol"
    with_app(sqlite_world)
    assert stage(sqlite_world, sign_in(sqlite_world, email, builders.PASSWORD, second_needed=True)) == "second"


def test_the_secret_of_an_app_is_sealed_to_its_row(sqlite_world: World) -> None:
    app, _ = with_app(sqlite_world)
    with_app(sqlite_world, "sponsor")
    with sqlite_world.units.reading(SYSTEM) as unit:
        rows = unit.session.scalars(select(SecondFactor).order_by(SecondFactor.created_at)).all()
        assert not any(app.secret.encode() in row.secret for row in rows)

    def swap(unit: Unit) -> None:
        first, second = unit.session.scalars(select(SecondFactor).order_by(SecondFactor.created_at)).all()
        first.secret = second.secret
        unit.covered(first)

    sqlite_world.units.run(SYSTEM, swap)
    secret = sign_in(sqlite_world, sqlite_world.actor("monitor").email, builders.PASSWORD) or ""
    assert code_of(lambda: proves(sqlite_world, secret, app.at(sqlite_world.now))) == "KEYS.SEAL"


def test_the_last_second_factor_stays_where_one_is_needed(sqlite_world: World) -> None:
    with_app(sqlite_world)
    me = on_pages(sqlite_world, "monitor")
    with sqlite_world.units.reading(me) as unit:
        (row,) = second_factors.of(unit, me.id)
    with pytest.raises(WrongState, match="last second factor"):
        sqlite_world.units.run(me, lambda unit: second_factors.remove(unit, row.id, needed=True))
    with pytest.raises(Missing):
        sqlite_world.units.run(on_pages(sqlite_world, "sponsor"), lambda unit: second_factors.remove(unit, row.id, needed=False))
    sqlite_world.units.run(me, lambda unit: second_factors.remove(unit, row.id, needed=False))
    assert stage(sqlite_world, sign_in(sqlite_world, me.email, builders.PASSWORD)) == "full"


def test_a_reset_of_lost_factors_takes_them_all_away(world: World) -> None:
    _, codes = with_app(world)
    email = world.actor("monitor").email
    reason = "seen in person with their staff card"
    code = world.run(ADMIN, lambda unit: tickets.issue(unit, people.by_email(unit, email), "reset with second factors", reason))
    assert stage(world, sign_in(world, email, builders.PASSWORD)) == "second", "nothing changes before the person acts"
    use(world, code)
    secret = sign_in(world, email, GOOD) or ""
    assert stage(world, secret) == "full"
    assert not proves(world, secret, codes[0])


# --- sessions, proofs and tokens -------------------------------------------------------------------------------------


def test_one_sees_and_ends_ones_own_sessions_only(world: World) -> None:
    mine = [sign_in(world, world.actor("monitor").email, builders.PASSWORD, agent=f"Browser {n}") for n in range(3)]
    other = sign_in(world, world.actor("sponsor").email, builders.PASSWORD)
    rows = world.read("monitor", sessions.own)
    assert sorted(row.agent for row in rows) == ["Browser 0", "Browser 1", "Browser 2"]
    one = next(row for row in rows if row.agent == "Browser 0")
    with pytest.raises(Missing):
        world.run("sponsor", lambda unit: sessions.end(unit, one.id))
    world.run("monitor", lambda unit: sessions.end(unit, one.id))
    assert [stage(world, secret) for secret in mine] == ["none", "full", "full"]
    assert world.run("monitor", lambda unit: sessions.end_all(unit, unit.actor.id, but=mine[1] or "")) == 1
    assert [stage(world, secret) for secret in (*mine, other)] == ["none", "full", "none", "full"]


def test_raising_a_session_keeps_its_absolute_limit(sqlite_world: World) -> None:
    secret = sign_in(sqlite_world, sqlite_world.actor("monitor").email, builders.PASSWORD) or ""
    for _ in range(26):
        sqlite_world.now += timedelta(minutes=29)
        if stage(sqlite_world, secret) == "none":
            break
        secret = sqlite_world.units.run(SYSTEM, lambda unit, held=secret: sessions.raised(unit, held))  # type: ignore[misc]
    assert sqlite_world.now - signed_in_at(sqlite_world) >= sessions.ABSOLUTE


def signed_in_at(world: World) -> Any:
    """When the session of the test was signed in."""
    with world.units.reading(SYSTEM) as unit:
        return min(row.created_at for row in unit.session.scalars(select(sessions.WebSession)))


#: Acts on pages that ask for a fresh proof.
PROVED: dict[str, Callable[[Unit], Any]] = {
    "a token": lambda unit: tokens.create(unit, people.by_email(unit, unit.actor.email), "script"),
    "recovery codes": second_factors.new_codes,
}


@pytest.mark.parametrize("act", ["a token", "recovery codes"])
def test_what_cannot_be_taken_back_asks_for_a_fresh_proof_on_pages(sqlite_world: World, act: str) -> None:
    world = sqlite_world
    with pytest.raises(Unproved):
        world.units.run(on_pages(world, "monitor", proved=False), PROVED[act])
    me = on_pages(world, "monitor")
    assert world.units.run(me, PROVED[act])
    world.now += timedelta(minutes=6)
    with pytest.raises(Unproved):
        world.units.run(me, PROVED[act])


def test_a_token_is_for_something_and_for_some_days(world: World) -> None:
    email = world.actor("monitor").email

    def create(**about: Any) -> str:
        return world.run("monitor", lambda unit: tokens.create(unit, people.by_email(unit, email), "script", **about))

    assert code_of(lambda: create(scopes=["fly"])) == "AUTH.SCOPE"
    assert code_of(lambda: create(scopes=[])) == "AUTH.SCOPE"
    assert code_of(lambda: create(days=0)) == "AUTH.DAYS"
    secret = create(scopes=["export", "read"], days=3)
    with world.units.reading(SYSTEM) as unit:
        assert tokens.account_of(unit, secret)[1] == {"read", "export"}
    (row,) = world.read("monitor", tokens.own)
    with pytest.raises(Missing):
        world.run("monitor", lambda unit: tokens.end(unit, row.id[:4]))
    world.now += timedelta(days=3)
    with world.units.reading(SYSTEM) as unit, pytest.raises(SignedOut):
        tokens.account_of(unit, secret)
    assert world.read("monitor", tokens.own) == []


def test_everything_about_an_account_stands_in_the_trail_without_a_secret(sqlite_world: World) -> None:
    world = sqlite_world
    code = invite(world)
    use(world, code)
    with_app(world)
    with world.units.reading(SYSTEM) as unit:
        actions = set(unit.session.scalars(select(AuditEvent.action).where(AuditEvent.trial_id == "*")))
    assert {"account.create", "account.invitation", "account.accept", "account.password", "factor.add", "factor.codes"} <= actions


def test_a_mail_about_an_account_goes_to_its_person(sqlite_world: World) -> None:
    one = sqlite_world.actor("monitor")

    def tell(unit: Unit) -> None:
        notices.tell_account(unit, one.id, "password", "The password of your account was set.")

    sqlite_world.units.run(SYSTEM, tell)
    with sqlite_world.units.reading(SYSTEM) as unit:
        assert unit.session.scalars(select(Outgoing.to).where(Outgoing.subject.contains("(password)"))).all() == [one.email]


def test_a_wrong_page_of_an_app_is_refused(sqlite_world: World) -> None:
    me, other = on_pages(sqlite_world, "monitor"), on_pages(sqlite_world, "sponsor")
    with sqlite_world.units.reading(me) as unit:
        kept = second_factors.sealed(unit, "JBSWY3DPEHPK3PXP")
        assert second_factors.opened(unit, kept) == "JBSWY3DPEHPK3PXP"
    with sqlite_world.units.reading(other) as unit:
        for text in (kept, "", "zz", kept[:-2]):
            with pytest.raises(Invalid):
                second_factors.opened(unit, text)


# --- at the same moment ----------------------------------------------------------------------------------------------


def at_once(world: World, work: Callable[[Unit], Any], times: int = 4) -> list[Any]:
    """The same use case by several at the same moment; what each was given, or the code of its refusal."""

    def one(_: int) -> Any:
        try:
            return world.units.run(SYSTEM, work)
        except TrialError as refused:
            return refused.code

    with ThreadPoolExecutor(times) as several:
        return list(several.map(one, range(times)))


def test_what_works_once_works_for_one_of_several_at_the_same_moment(world: World) -> None:
    app, codes = with_app(world)
    secret = sign_in(world, world.actor("monitor").email, builders.PASSWORD) or ""

    def prove(code: str) -> Callable[[Unit], bool]:
        def work(unit: Unit) -> bool:
            found = sessions.session_of(unit, secret)
            assert found
            return second_factors.proved_by_code(unit, found[0], code)

        return work

    assert at_once(world, prove(codes[0])).count(True) == 1
    assert at_once(world, prove(app.at(world.now))).count(True) == 1
    ticket = invite(world)
    assert [getattr(one, "state", one) for one in at_once(world, lambda unit: tickets.use(unit, ticket, GOOD).state)].count("active") == 1
    held = sign_in(world, world.actor("sponsor").email, builders.PASSWORD) or ""
    assert [one for one in at_once(world, lambda unit: sessions.raised(unit, held)) if one != "AUTH.SIGN_IN"].__len__() == 1


def test_a_session_that_ended_meanwhile_is_not_raised(world: World) -> None:
    secret = sign_in(world, world.actor("monitor").email, builders.PASSWORD) or ""
    world.run("monitor", lambda unit: sessions.end_all(unit, unit.actor.id))
    with pytest.raises(SignedOut):
        world.units.run(SYSTEM, lambda unit: sessions.raised(unit, secret))


def test_tries_that_come_too_early_keep_nobody_out_for_longer(sqlite_world: World) -> None:
    email = sqlite_world.actor("monitor").email
    for _ in range(40):
        assert sign_in(sqlite_world, email, "wrong-password-x") is None
    sqlite_world.now += timedelta(seconds=2)
    assert sign_in(sqlite_world, email, builders.PASSWORD), "after five tries one waits for a second"


def test_a_lost_factor_takes_tokens_with_it(sqlite_world: World) -> None:
    with_app(sqlite_world)
    email = sqlite_world.actor("monitor").email
    token = sqlite_world.run("monitor", lambda unit: tokens.create(unit, people.by_email(unit, email), "script"))
    about = ("reset with second factors", "seen in person")
    code = sqlite_world.run(ADMIN, lambda unit: tickets.issue(unit, people.by_email(unit, email), *about))
    sqlite_world.units.run(NOBODY, lambda unit: tickets.ask_reset(unit, email))  # which a visitor may do, and ends nothing
    use(sqlite_world, code)
    with sqlite_world.units.reading(SYSTEM) as unit, pytest.raises(SignedOut):
        tokens.account_of(unit, token)

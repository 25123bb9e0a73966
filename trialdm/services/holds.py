"""Freezing and locking: a form, a participant, a site or the trial is held, so that nothing in it is changed any more.

Whoever cleans the data freezes and thaws. A lock, and its end, need two people: somebody who cleans the data and the trial
manager, one of whom asks and the other one confirms; any of them declines. A hold covers everything below it; the strictest one counts.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select

from trialdm.domain import lifecycle, query, roles
from trialdm.domain.errors import Detail, Forbidden, Invalid, WrongState
from trialdm.domain.protocol import Protocol
from trialdm.domain.words import counted
from trialdm.services import casebooks, double_entry, participants, people, register, signatures, studies
from trialdm.services.unit import Unit, needed, remember
from trialdm.store.tables import Account, FormInstance, Participant, Query, Status

#: What can be held, widest first.
SCOPES = ("trial", "site", "participant", "form")

#: States in which nothing is changed, weakest first.
_HELD = ("frozen", "lock_asked", "locked", "unlock_asked")

#: Steps by which a second person confirms what the first one asked for. Whoever may hold declines, who asked included.
CONFIRMS = {"lock": "ask-lock", "unlock": "ask-unlock"}

#: Steps that nobody takes without saying why.
NEED_REASON = frozenset({"thaw", "ask-unlock", "decline-lock", "decline-unlock"})


@dataclass(frozen=True)
class Hold:
    """Something that is held: what (`scope` and `name`), in which state, since when and by whom, and why."""

    scope: str
    name: str
    state: str
    at: datetime
    by: str
    reason: str

    @property
    def locked(self) -> bool:
        return self.state in lifecycle.LOCKED

    @property
    def words(self) -> str:
        """What is held and how, as a sentence starts."""
        what = "The trial" if self.scope == "trial" else f"{self.scope.capitalize()} {self.name}" if self.name else f"This {self.scope}"
        return f"{what} is {lifecycle.label(self.state)}"


def subject(scope: str, ident: str) -> str:
    """What a hold is kept under: its scope and what it names."""
    return f"{scope}:{ident}"


def over(unit: Unit, trial: str, participant: Participant, instance: FormInstance | None = None) -> Hold | None:
    """The strictest hold over a participant, or over a form of theirs; None where nothing holds it."""
    form = instance.id if instance is not None else ""
    named = [subject("trial", trial), subject("site", participant.site), subject("participant", participant.id), subject("form", form)]
    return remember(unit, ("holds", trial, participant.id, form), lambda: _strictest(unit, trial, named))


def over_site(unit: Unit, trial: str, site: str) -> Hold | None:
    """The strictest hold over a site; None where nothing holds it."""
    named = [subject("trial", trial), subject("site", site)]
    return remember(unit, ("holds", trial, "site", site), lambda: _strictest(unit, trial, named))


def _strictest(unit: Unit, trial: str, subjects: list[str]) -> Hold | None:
    wanted = select(Status).where(Status.trial_id == trial, Status.machine == "hold", Status.subject.in_(subjects)).order_by(Status.seq)
    newest = {row.subject: row for row in unit.session.scalars(wanted)}
    held = [row for row in newest.values() if row.state in _HELD]
    return _hold(max(held, key=lambda row: _HELD.index(row.state))) if held else None


def _hold(row: Status) -> Hold:
    scope, _, name = row.subject.partition(":")
    return Hold(scope, "" if scope == "form" else name, row.state, row.at, row.by, row.reason)


def against_change(found: Hold | None) -> WrongState | None:
    """Why what is held is not changed; None where nothing holds it."""
    if found is None:
        return None
    if found.locked:
        needs = "A data manager and the trial manager unlock it together, with a reason; what is changed then is signed again."
    else:
        needs = "A data manager or the trial manager thaws it."
    return WrongState(f"{found.words} since {found.at:%-d %B %Y}: nothing in it is changed.", code="STATE.HELD", needs=needs)


def require_free(unit: Unit, trial: str, participant: Participant, instance: FormInstance | None = None) -> None:
    """Raises WrongState while something holds the participant, or the form."""
    problem = against_change(over(unit, trial, participant, instance))
    if problem is not None:
        raise problem


def require_site_free(unit: Unit, trial: str, site: str) -> None:
    """Raises WrongState while the site, or the trial, is held."""
    problem = against_change(over_site(unit, trial, site))
    if problem is not None:
        raise problem


def require_unlocked(unit: Unit, trial: str, participant: Participant, instance: FormInstance | None, act: str) -> None:
    """Raises WrongState where the participant, or the form, is locked: nothing in it is signed or verified (`act`) any more."""
    found = over(unit, trial, participant, instance)
    if found is not None and found.locked:
        raise WrongState(f"{found.words}: nothing in it is {act} any more.", code="STATE.HELD", needs="It must be unlocked first.")


# --- steps -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Target:
    """What a step is about, within its trial; who reads of it follows from the `stream`."""

    protocol: Protocol
    scope: str
    ident: str
    site: str = ""
    stream: str = "open"

    @property
    def subject(self) -> str:
        return subject(self.scope, self.ident)


def target(unit: Unit, trial: str, scope: str, ident: str = "") -> Target:
    """What somebody wants to hold: the trial, a site by its code, a participant, or a form by the id of its instance.

    Raises Invalid for another scope, Missing for what there is not, and Refused for a form that would unblind.
    """
    protocol = studies.protocol(unit, trial)
    unit.require("hold.move", trial)
    if scope == "trial":
        return Target(protocol, scope, trial)
    if scope == "site":
        return Target(protocol, scope, protocol.site(ident).code, ident)
    if scope == "participant":
        person = participants.find(unit, trial, ident)
        return Target(protocol, scope, person.id, person.site)
    if scope != "form":
        raise Invalid(f"'{scope}' cannot be held.", code="HOLD.SCOPE", needs=f"One of: {', '.join(SCOPES)}.")
    found = unit.session.get(FormInstance, (trial, ident))
    seen = found if found is not None and _readable(unit, protocol, found) else None
    instance = needed(seen, "There is no such form.", code="CRF.NO_FORM")
    person = participants.find(unit, trial, instance.participant_id)
    return Target(protocol, scope, instance.id, person.site, "unblinded" if _restricted(unit, protocol, person, instance) else "open")


def _readable(unit: Unit, protocol: Protocol, instance: FormInstance) -> bool:
    """Whether the reader's blinding allows them a form."""
    person = participants.known(unit, protocol.id, instance.participant_id)
    return unit.sees_allocations(protocol.id, person.site) or not _restricted(unit, protocol, person, instance)


def _restricted(unit: Unit, protocol: Protocol, person: Participant, instance: FormInstance) -> bool:
    form = studies.protocol_at(unit, protocol.id, person.site).form(instance.form)
    return form.restricted or bool(instance.restricted)


def state(unit: Unit, about: Target) -> str:
    """The state of what is held."""
    return studies.state(unit, about.protocol.id, "hold", about.subject)


def history(unit: Unit, about: Target) -> list[Status]:
    """Every step, oldest first."""
    return studies.history(unit, about.protocol.id, "hold", about.subject)


def move(unit: Unit, about: Target, event: str, *, reason: str = "") -> str:
    """Freeze, thaw, ask for a lock or its end, confirm or decline; gives the new state.

    What stands against a lock can be accepted with a reason, which is kept. Raises Invalid without a needed reason, Forbidden
    where another person has to do it, and WrongState with everything that stands against a lock.
    """
    trial = about.protocol.id
    unit.require("hold.move", trial)
    register.lock(unit, trial)
    lifecycle.move("hold", state(unit, about), event)
    if event in NEED_REASON and not reason.strip():
        raise Invalid("Say why.", code="HOLD.REASON", needs="The reason, in a sentence without names.", details=[_NO_REASON])
    if event in CONFIRMS:
        _require_second(unit, about, CONFIRMS[event])
    if event in ("ask-lock", "lock") and not reason.strip():
        _require_clean(unit, about)
    new = studies.move(unit, trial, "hold", about.subject, event, reason=reason.strip(), site=about.site, stream=about.stream)
    _lead_trial(unit, about, event, reason)
    return new


_NO_REASON = Detail("HOLD.REASON", "Say why.", "reason")


def _lead_trial(unit: Unit, about: Target, event: str, reason: str) -> None:
    """The trial as a whole goes with its lock: it is locked when the second person confirms, and goes back when it is unlocked."""
    step = {"lock": "lock", "unlock": "unlock"}.get(event) if about.scope == "trial" else None
    trial = about.protocol.id
    if step and lifecycle.may("trial", studies.state(unit, trial), step):
        studies.move(unit, trial, "trial", trial, step, reason=reason)


def steps(unit: Unit, about: Target) -> list[str]:
    """The steps that the actor may take now, the one that goes on first: nobody confirms what they asked for."""

    def may(event: str) -> bool:
        try:
            if event in CONFIRMS:
                _require_second(unit, about, CONFIRMS[event])
        except Forbidden:
            return False
        return True

    return sorted(filter(may, lifecycle.events("hold", state(unit, about))), key=lambda event: event not in CONFIRMS)


def _require_second(unit: Unit, about: Target, asked: str) -> None:
    """Raises Forbidden unless the actor is another person than the one who asked, and of the other side.

    Which side asked is told by the roles of that moment: who has left since has asked all the same.
    """
    row = next(row for row in reversed(history(unit, about)) if row.event == asked)
    sides = roles.LOCKED_BY
    first = {grant.role for grant in people.grants_at(unit, row.by, row.at) if grant.covers(about.protocol.id, None)}
    mine = {grant.role for grant in unit.actor.grants if grant.covers(about.protocol.id, None)}
    fits = any(first & sides[i] and mine & sides[1 - i] for i in (0, 1))
    if row.by == unit.actor.id or not fits:
        name = casebooks.names(unit, [row.by]).get(row.by, "")
        raise Forbidden(
            f"{name} asked for this: a second person confirms it.",
            code="HOLD.SECOND",
            needs="A data manager and the trial manager, one of whom asks and the other one confirms.",
        )


# --- what stands against a lock --------------------------------------------------------------------------------------


def against(unit: Unit, about: Target) -> list[Detail]:
    """What stands against locking: drafts, queries that are not settled, forms or casebooks that nobody has signed."""
    return list(remember(unit, ("against lock", about.protocol.id, about.subject), lambda: list(_against(unit, about))))


def _against(unit: Unit, about: Target) -> Iterator[Detail]:
    trial, scope = about.protocol.id, about.scope
    wanted = [Participant.trial_id == trial]
    if scope == "site":
        wanted.append(Participant.site == about.ident)
    elif scope == "participant":
        wanted.append(Participant.id == about.ident)
    elif scope == "form":
        yield from _against_form(unit, about)
        return
    here = list(
        unit.session.scalars(select(Participant).where(*wanted).order_by(Participant.site, Participant.enrolled_site, Participant.number))
    )
    yield from _unfinished(unit, about.protocol, here, hidden_too=scope == "trial")
    unsigned = [person.id for person in here if not signatures.casebook_signed(unit, about.protocol, person)]
    if unsigned and not about.protocol.historical:
        named = ", ".join(unsigned[:5]) + (f" and {len(unsigned) - 5} more" if len(unsigned) > 5 else "")
        many = counted(len(unsigned), "casebook")
        yield Detail("HOLD.SIGNATURE", f"{many} not signed by the principal investigator: {named}", "signature")


def _unfinished(unit: Unit, protocol: Protocol, people_here: list[Participant], *, hidden_too: bool) -> Iterator[Detail]:
    """Drafts, forms that wait for their second entry, and unsettled queries.

    That something hidden from the reader is among them is said (without a number) of the whole trial only: said of one participant, it
    would tell who has a restricted deviation.
    """
    trial, sites = protocol.id, {person.id: person.site for person in people_here}
    begun = double_entry.unsettled(unit, trial, people_here)
    drafts = unit.session.execute(
        select(FormInstance.participant_id, FormInstance.form, FormInstance.restricted).where(
            FormInstance.trial_id == trial, FormInstance.status == "draft"
        )
    )
    queries = unit.session.execute(
        select(Query.participant_id, Query.form, Query.restricted).where(Query.trial_id == trial, Query.state.in_(query.UNSETTLED))
    )
    for rows, code, thing, what in (
        (drafts, "HOLD.DRAFTS", "form", "not finished"),
        (begun, "HOLD.ENTRIES", "form", "waiting for a second entry or for a third person"),
        (queries, "HOLD.QUERIES", "query", "not settled"),
    ):
        seen, hidden = 0, False
        for ident, form, restricted in rows:
            if ident not in sites:
                continue
            closed = restricted or studies.protocol_at(unit, trial, sites[ident]).form(form).restricted
            if closed and not unit.sees_allocations(trial, sites[ident]):
                hidden = True
            else:
                seen += 1
        if seen:
            yield Detail(code, f"{counted(seen, thing)} {what}", code)
        if hidden and hidden_too:
            yield Detail(code, f"a {thing} {what} among those that are hidden from you: the unblinded data manager sees which", code)


def _against_form(unit: Unit, about: Target) -> Iterator[Detail]:
    instance = unit.session.get_one(FormInstance, (about.protocol.id, about.ident))
    if instance.status != "signed":
        yield Detail("HOLD.SIGNATURE", f"the form is {lifecycle.label(instance.status)}, not signed", "signature")
    at = (Query.visit == instance.visit, Query.form == instance.form, Query.row == instance.row)
    here = (Query.trial_id == about.protocol.id, Query.participant_id == instance.participant_id, *at, Query.state.in_(query.UNSETTLED))
    queries = unit.session.scalars(select(Query.restricted).where(*here)).all()
    if any(not restricted or unit.sees_allocations(about.protocol.id, about.site) for restricted in queries):
        yield Detail("HOLD.QUERIES", "a query on the form is not settled", "query")


def _require_clean(unit: Unit, about: Target) -> None:
    found = against(unit, about)
    if found:
        raise WrongState(
            "It is not ready to be locked: " + "; ".join(detail.message for detail in found) + ".",
            code="HOLD.NOT_CLEAN",
            needs="Finished forms, settled queries and the signature of the principal investigator; or a reason to lock it as it is.",
            details=found,
        )


def held(unit: Unit, trial: str) -> list[tuple[Hold, str]]:
    """Everything that is held now, with the name of whoever did the last step: the trial, sites, participants."""
    unit.require("hold.move", trial)
    rows = unit.session.scalars(
        select(Status).where(Status.trial_id == trial, Status.machine == "hold", ~Status.subject.startswith("form:")).order_by(Status.seq)
    )
    newest = {row.subject: row for row in rows}
    found = [_hold(row) for row in newest.values() if row.state in _HELD]
    names = casebooks.names(unit, (one.by for one in found))
    return [(one, names.get(one.by, "")) for one in sorted(found, key=lambda one: (SCOPES.index(one.scope), one.name))]


def asked_by_others(unit: Unit, trial: str) -> list[tuple[Hold, Account]]:
    """Locks and unlockings that wait for the actor as the second person."""
    if not unit.may("hold.move", trial):
        return []
    protocol = studies.protocol(unit, trial)
    found = []
    for one, _ in held(unit, trial):
        if one.state not in ("lock_asked", "unlock_asked") or one.by == unit.actor.id:
            continue
        about = Target(protocol, one.scope, one.name or trial)
        try:
            _require_second(unit, about, CONFIRMS["lock" if one.state == "lock_asked" else "unlock"])
        except Forbidden:
            continue
        found.append((one, unit.session.get_one(Account, one.by)))
    return found

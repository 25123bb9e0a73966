"""Electronic signatures under forms and casebooks, and what a change does to them.

Whoever signs types their password again. A signature is bound to what the form says (`domain.signing`): any change of an
answer makes it void, says so in the trail and on the page, and asks for another one. Answers that others give beside it, such as
the code of an event, are not what an investigator signs, and leave it as it is. Restricted forms are signed by people who read
them.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import func, select

from trialdm.domain import lifecycle, query, signing
from trialdm.domain.crf import Form
from trialdm.domain.errors import Broken, Detail, Forbidden, Refused, Stale, WrongState
from trialdm.domain.protocol import Protocol
from trialdm.domain.signing import Act, Marks
from trialdm.services import casebooks, double_entry, register, sessions, studies
from trialdm.services.casebooks import Casebook, Stored
from trialdm.services.unit import Change, Unit
from trialdm.store.tables import CasebookAct, FormAct, FormInstance, FormVersion, Participant, Query

# --- what holds ------------------------------------------------------------------------------------------------------


def acts(unit: Unit, trial: str, instance: str) -> list[Act]:
    """Everything that was done to a form, oldest first."""
    rows = unit.session.scalars(select(FormAct).where(FormAct.trial_id == trial, FormAct.instance_id == instance).order_by(FormAct.n))
    return [_act(row) for row in rows]


def _act(row: FormAct | CasebookAct) -> Act:
    names = ("item", "version") if isinstance(row, FormAct) else ()
    same = ("act", "name", "role", "meaning", "text", "at", "by", "content", "seal")
    return Act(**{name: getattr(row, name) for name in (*same, *names)})


def marks(unit: Unit, trial: str, instance: str) -> Marks:
    """What is verified of a form, and whose signature holds."""
    return signing.fold(acts(unit, trial, instance))


def of_casebook(unit: Unit, trial: str, participant: str) -> Marks:
    """Whose signature holds under the casebook, or why none does any more."""
    rows = unit.session.scalars(
        select(CasebookAct).where(CasebookAct.trial_id == trial, CasebookAct.participant_id == participant).order_by(CasebookAct.n)
    )
    return signing.fold(_act(row) for row in rows)


def casebook_signed(unit: Unit, protocol: Protocol, person: Participant) -> bool:
    """Whether the casebook is signed as it stands. Nothing is asked of somebody who was never randomised."""
    machine = protocol.machine
    steps = {row.event for row in studies.history(unit, protocol.id, machine, person.id)}
    if machine == "participant" and not steps & set(lifecycle.RANDOMISING):
        return True
    return of_casebook(unit, protocol.id, person.id).signature is not None


def open_queries(unit: Unit, trial: str, participant: str, place: tuple[str, str, int] | None = None) -> int:
    """How many queries about a participant, or one form of theirs, are not settled."""
    wanted = [Query.trial_id == trial, Query.participant_id == participant, Query.state.in_(query.UNSETTLED)]
    if place is not None:
        wanted += [Query.visit == place[0], Query.form == place[1], Query.row == place[2]]
    return unit.session.scalar(select(func.count()).select_from(Query).where(*wanted)) or 0


def content(unit: Unit, stored: Stored) -> str:
    """What a signature under a form is bound to."""
    one = stored.instance
    version = unit.session.get_one(FormVersion, (one.trial_id, one.id, one.seq))
    return _content(unit, one, version)


def _content(unit: Unit, one: FormInstance, version: FormVersion) -> str:
    place = {"trial": one.trial_id, "participant": one.participant_id, "visit": one.visit, "form": one.form, "row": one.row}
    return signing.content({**place, "version": version.seq, "definition": version.definition_seq}, _under(unit, one, version, version))


def _under(unit: Unit, one: FormInstance, version: FormVersion, signed: FormVersion) -> dict[str, Any]:
    """What a version says of that which a signature under the version `signed` covers, by the definition of that one."""
    definition = next(row for row in studies.loaded(unit, one.trial_id) if row.seq == signed.definition_seq)
    return signing.under(json.loads(version.data), signing.beside(studies.parsed(definition).form(one.form)))


# --- signing ---------------------------------------------------------------------------------------------------------


Place = tuple[str, str, int]


def sign(unit: Unit, protocol: Protocol, book: Casebook, seen: Mapping[Place, int | None], password: str) -> list[Act] | None:
    """Sign finished forms of one participant; None where the password is wrong (the caller commits either way: it is counted).

    `seen` names them (visit, form, row), each with the version that the signer has read, where that is known. Raises Forbidden without
    the right, Stale where somebody changed one since, and WrongState for a form that is not finished, signed already, locked, or queried.
    """
    trial, site = protocol.id, book.participant.site
    unit.require("form.sign", trial, site)
    register.lock(unit, trial, shared=True)
    book = casebooks.hold(unit, book.participant)
    chosen = [as_seen(book, place, version) for place, version in seen.items()]
    _require_readable(unit, protocol, book, chosen)
    _require_unlocked(unit, trial, book, chosen)
    wrong = [f"{s.instance.form} at {s.instance.visit} is {lifecycle.label(s.status)}" for s in chosen if not _may_sign(s)]
    queried = [s for s in chosen if open_queries(unit, trial, book.participant.id, s.key)]
    wrong += [f"{s.instance.form} at {s.instance.visit} has a query that is not settled" for s in queried]
    if wrong or not chosen:
        raise WrongState(
            "This cannot be signed: " + ("; ".join(wrong) or "no form was chosen") + ".",
            code="SIGN.NOT_READY",
            needs="Finished forms without queries that are not settled.",
            details=[Detail("SIGN.NOT_READY", text) for text in wrong],
        )
    if not sessions.proves(unit, password):
        return None
    return [_sign_one(unit, protocol, book, stored, signing.MEANINGS["form"]) for stored in chosen]


def _require_readable(unit: Unit, protocol: Protocol, book: Casebook, chosen: Iterable[Stored]) -> None:
    """Raises Refused for a form that the signer may not read."""
    site = book.participant.site
    forms = studies.protocol_at(unit, protocol.id, site)
    if not unit.sees_allocations(protocol.id, site) and any(s.restricted(forms.form(s.instance.form)) for s in chosen):
        raise Refused("Hidden to keep you blinded.", code="GATE.GOV-45", needs="An unblinded role at this site.")


def as_seen(book: Casebook, place: Place, version: int | None) -> Stored:
    """A form as somebody has read it. Raises Stale where it is another one by now."""
    stored = book.get(*place)
    if stored is None or version not in (None, stored.instance.seq):
        raise Stale(
            f"Form {place[1]} at {place[0]} was changed since you read it: nothing is signed or marked.",
            needs="Open the page again and look at what it says now.",
        )
    return stored


def _may_sign(stored: Stored) -> bool:
    return lifecycle.may("form", stored.status, "sign")


def _require_unlocked(unit: Unit, trial: str, book: Casebook, chosen: Iterable[Stored]) -> None:
    from trialdm.services import holds  # which asks whether casebooks are signed

    for instance in [None, *(stored.instance for stored in chosen)]:
        holds.require_unlocked(unit, trial, book.participant, instance, "signed")


def _sign_one(unit: Unit, protocol: Protocol, book: Casebook, stored: Stored, meaning: str) -> Act:
    one, was = stored.instance, stored.status
    one.status = lifecycle.move("form", was, "sign")
    bound = content(unit, stored)
    row = _new_act(unit, one, "sign", content=bound, meaning=meaning)
    restricted = _stream(unit, protocol, book, stored)
    unit.record(
        "form.sign",
        one,
        row,
        trial=one.trial_id,
        entity="form",
        entity_id=one.id,
        changes=[
            Change("status", was, one.status, restricted),
            Change("signature", None, {"content": bound, "meaning": meaning}, restricted),
        ],
        site=book.participant.site,
    )
    return _act(row)


def _stream(unit: Unit, protocol: Protocol, book: Casebook, stored: Stored) -> str:
    form = studies.protocol_at(unit, protocol.id, book.participant.site).form(stored.instance.form)
    return "unblinded" if stored.restricted(form) else "open"


def _restricts(form: Form, name: str) -> bool:
    """Whether an item is restricted; one that the form has no more may have been."""
    return name not in form.by_name or form.restricts(form.by_name[name])


def by_stream(form: Form, stored: Stored, items: Iterable[str], *, done: bool) -> list[Change]:
    """The marks at items that came (`done`) or went, one change for each stream: a blinded reader does not learn which restricted items
    were answered."""
    whole, parts = stored.restricted(form), {"open": list[str](), "unblinded": list[str]()}
    for name in items:
        parts["unblinded" if whole or _restricts(form, name) else "open"].append(name)
    return [Change("verified", None if done else names, names if done else [], stream) for stream, names in parts.items() if names]


def _new_act(unit: Unit, one: FormInstance, act: str, *, content: str = "", meaning: str = "", item: str = "", text: str = "") -> FormAct:
    """The next act of a form, sealed where it is a signature. The caller records it."""
    last = unit.session.scalar(select(func.max(FormAct.n)).where(FormAct.trial_id == one.trial_id, FormAct.instance_id == one.id)) or 0
    row = FormAct(
        trial_id=one.trial_id,
        instance_id=one.id,
        n=last + 1,
        act=act,
        item=item,
        version=one.seq,
        text=text,
        **_by(unit, one.trial_id, content, meaning),
    )
    unit.add(row)
    unit.session.flush()
    return row


def _by(unit: Unit, trial: str, content: str, meaning: str) -> dict[str, Any]:
    """Who does something now, as it is kept: name and role as they are today, and the seal of a signature."""
    said = {"content": content, "meaning": meaning, "by": unit.actor.id, "name": unit.actor.name, "role": unit.actor.role_names(trial)}
    sealed = signing.seal(unit.keys.audit, at=_moment(unit.now), **said) if meaning else ""
    return {**said, "at": unit.now, "seal": sealed}


def _moment(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="microseconds")


def note(unit: Unit, one: FormInstance, act: str, *, item: str = "", text: str = "") -> FormAct:
    """An act that is no signature. The caller records it."""
    return _new_act(unit, one, act, item=item, text=text)


# --- the casebook ----------------------------------------------------------------------------------------------------


def against_casebook(unit: Unit, protocol: Protocol, book: Casebook) -> list[str]:
    """What stands against the signature under a casebook."""
    drafts = [s for s in book.forms.values() if s.status == "draft"]
    queries = open_queries(unit, protocol.id, book.participant.id)
    begun = len(double_entry.unsettled(unit, protocol.id, [book.participant]))
    found = [f"{len(drafts)} form{' is a draft' if len(drafts) == 1 else 's are drafts'}"] if drafts else []
    found += [f"{begun} form{' waits' if begun == 1 else 's wait'} for a second entry or for a third person"] if begun else []
    found += [f"{queries} quer{'y is' if queries == 1 else 'ies are'} not settled"] if queries else []
    return found if book.forms or begun else ["nothing has been saved"]


def standing(unit: Unit, trial: str, participant: str) -> str:
    """What the casebook says as it stands, as one digest: what a signature under it is bound to."""
    return signing.of_many(_contents(unit, trial, participant))


def sign_casebook(unit: Unit, protocol: Protocol, book: Casebook, password: str, *, seen: str = "") -> Act | None:
    """Sign the casebook, and with it every finished form that is not signed yet; None where the password is wrong.

    `seen` is what it said when the signer read it (`standing`), where that is known. Raises Forbidden without the right, Stale where
    it says something else by now, and WrongState while there are drafts or queries that are not settled.
    """
    trial, person = protocol.id, book.participant
    unit.require("casebook.sign", trial, person.site)
    register.lock(unit, trial, shared=True)
    book = casebooks.hold(unit, person)
    if seen and seen != standing(unit, trial, person.id):
        raise Stale("The casebook was changed since you read it: nothing is signed.", needs="Open the page again and look at what is new.")
    _require_unlocked(unit, trial, book, ())
    found = against_casebook(unit, protocol, book)
    if of_casebook(unit, trial, person.id).signature is not None:
        found = ["it is signed already"]
    if found:
        raise WrongState(
            "The casebook cannot be signed: " + "; ".join(found) + ".",
            code="SIGN.NOT_READY",
            needs="Every form finished, and every query settled.",
            details=[Detail("SIGN.NOT_READY", text) for text in found],
        )
    if not sessions.proves(unit, password):
        return None
    meaning = signing.MEANINGS["casebook"]
    for stored in book.forms.values():
        if _may_sign(stored):
            _sign_one(unit, protocol, book, stored, meaning)
    bound = standing(unit, trial, person.id)
    row = _casebook_act(unit, trial, person.id, "sign", content=bound, meaning=meaning)
    about = {"trial": trial, "entity": "participant", "entity_id": person.id, "site": person.site}
    unit.record("casebook.sign", row, changes=[Change("signature", None, {"content": bound, "meaning": meaning})], **about)
    return _act(row)


def _contents(unit: Unit, trial: str, participant: str) -> list[str]:
    rows = unit.session.execute(
        select(FormInstance, FormVersion)
        .join(
            FormVersion,
            (FormVersion.trial_id == FormInstance.trial_id)
            & (FormVersion.instance_id == FormInstance.id)
            & (FormVersion.seq == FormInstance.seq),
        )
        .where(FormInstance.trial_id == trial, FormInstance.participant_id == participant, FormInstance.status != "removed")
    )
    return [_content(unit, one, version) for one, version in rows]


def _casebook_act(
    unit: Unit, trial: str, participant: str, act: str, *, content: str = "", meaning: str = "", text: str = ""
) -> CasebookAct:
    own = (CasebookAct.trial_id == trial, CasebookAct.participant_id == participant)
    last = unit.session.scalar(select(func.max(CasebookAct.n)).where(*own)) or 0
    row = CasebookAct(trial_id=trial, participant_id=participant, n=last + 1, act=act, text=text, **_by(unit, trial, content, meaning))
    unit.add(row)
    unit.session.flush()
    return row


# --- what a change does ----------------------------------------------------------------------------------------------


def void(unit: Unit, protocol: Protocol, book: Casebook, stored: Stored, items: Sequence[str], why: str, *, beside: bool = False) -> None:
    """A form was changed (`items` are those whose answers are others now): nobody has verified or signed it as it stands.

    The signature under the casebook goes as well. Where all of the items stand `beside` what is signed, signatures hold.
    """
    one, person = stored.instance, book.participant
    before = marks(unit, one.trial_id, one.id) if one.seq > 1 else Marks()
    gone = [note(unit, one, "void", item=item, text=why) for item in items if before.verified(item)]
    signature = None if beside else before.signature
    gone += [note(unit, one, "void", text=why)] if signature else []
    stream = _stream(unit, protocol, book, stored)
    if gone:
        form = studies.protocol_at(unit, protocol.id, person.site).form(one.form)
        changes = by_stream(form, stored, sorted(row.item for row in gone if row.item), done=False)
        changes += [Change("signature", signature.name, None, stream)] if signature else []
        about = {"trial": one.trial_id, "entity": "form", "entity_id": one.id, "site": person.site}
        unit.record("form.void", *gone, changes=changes, **about)
    under = None if beside else of_casebook(unit, one.trial_id, person.id).signature
    if under is not None:
        row = _casebook_act(unit, one.trial_id, person.id, "void", text=why)
        about = {"trial": one.trial_id, "entity": "participant", "entity_id": person.id, "site": person.site}
        unit.record("casebook.void", row, changes=[Change("signature", under.name, None)], **about)


# --- checking --------------------------------------------------------------------------------------------------------


def check(unit: Unit, trial: str) -> int:
    """Compare every signature of a trial that holds with what it is bound to; gives how many there are. Raises Broken for one that
    was made or moved by anybody but its signer, or whose form was changed behind its back."""
    count = 0
    signed: dict[str, FormAct] = {}
    for row in unit.session.scalars(select(FormAct).where(FormAct.trial_id == trial).order_by(FormAct.instance_id, FormAct.n)):
        if row.act == "sign":
            _require_sealed(unit, row, f"form {row.instance_id}")
            signed[row.instance_id] = row
            count += 1
        elif row.act == "void" and not row.item:
            signed.pop(row.instance_id, None)
    for ident, row in signed.items():
        one = unit.session.get_one(FormInstance, (trial, ident))
        if not _as_signed(unit, one, row):
            raise Broken(f"Form {ident} is not what was signed by {row.name}.", code="SIGN.CONTENT")
    standing: dict[str, CasebookAct] = {}
    rows = select(CasebookAct).where(CasebookAct.trial_id == trial).order_by(CasebookAct.participant_id, CasebookAct.n)
    for act in unit.session.scalars(rows):
        if act.act == "sign":
            _require_sealed(unit, act, f"the casebook of {act.participant_id}")
            standing[act.participant_id] = act
            count += 1
        elif act.act == "void":
            standing.pop(act.participant_id, None)
    for act in standing.values():
        if not _casebook_as_signed(unit, act):
            raise Broken(f"The casebook of {act.participant_id} is not what was signed by {act.name}.", code="SIGN.CONTENT")
    return count


def _casebook_as_signed(unit: Unit, act: CasebookAct) -> bool:
    """Whether the casebook is what was signed: every form as it was signed with it or before, but for what stands beside; and no other."""
    here = (FormInstance.trial_id == act.trial_id, FormInstance.participant_id == act.participant_id, FormInstance.status != "removed")
    forms = {one.id: one for one in unit.session.scalars(select(FormInstance).where(*here))}
    acts = select(FormAct).where(
        FormAct.trial_id == act.trial_id, FormAct.instance_id.in_(forms), FormAct.act == "sign", FormAct.at <= act.at
    )
    under = {row.instance_id: row for row in unit.session.scalars(acts.order_by(FormAct.n))}
    if set(under) != set(forms) or not all(_as_signed(unit, forms[ident], row) for ident, row in under.items()):
        return False
    return signing.of_many([row.content for row in under.values()]) == act.content


def _as_signed(unit: Unit, one: FormInstance, row: FormAct) -> bool:
    """Whether the signed version says what was signed, and every version since differs only in what stands beside it."""
    wanted = select(FormVersion).where(
        FormVersion.trial_id == one.trial_id, FormVersion.instance_id == one.id, FormVersion.seq >= row.version, FormVersion.seq <= one.seq
    )
    versions = unit.session.scalars(wanted.order_by(FormVersion.seq)).all()
    if not versions or versions[0].seq != row.version or _content(unit, one, versions[0]) != row.content:
        return False
    signed = _under(unit, one, versions[0], versions[0])
    return all(_under(unit, one, later, versions[0]) == signed for later in versions[1:])


def _require_sealed(unit: Unit, row: FormAct | CasebookAct, what: str) -> None:
    said = {"content": row.content, "by": row.by, "name": row.name, "role": row.role, "meaning": row.meaning}
    if signing.seal(unit.keys.audit, at=_moment(row.at), **said) != row.seal:
        raise Broken(f"The signature under {what} was not made by {row.name}.", code="SIGN.SEAL")


def to_sign(unit: Unit, protocol: Protocol, book: Casebook) -> list[Stored]:
    """Finished forms of a participant that wait for a signature: those that the reader may read."""
    sees = unit.sees_allocations(protocol.id, book.participant.site)
    if not unit.may("form.sign", protocol.id, book.participant.site):
        return []
    forms = studies.protocol_at(unit, protocol.id, book.participant.site)
    visits, codes = [visit.code for visit in forms.visits], [form.code for form in forms.forms]

    def place(stored: Stored) -> tuple[int, str, int, int]:
        one = stored.instance
        return visits.index(forms.visit(one.visit).code), one.visit, codes.index(one.form), one.row

    readable = (s for s in book.forms.values() if sees or not s.restricted(forms.form(s.instance.form)))
    return sorted((s for s in readable if _may_sign(s)), key=place)


@dataclass(frozen=True)
class Waiting:
    """A participant some of whose finished forms nobody has signed; `over` where nothing more is to come, so that the casebook can be."""

    participant: str
    site: str
    state: str
    forms: int
    over: bool


def waiting(unit: Unit, protocol: Protocol) -> list[Waiting]:
    """Whose forms wait for the reader's signature: those first of whom nothing more is to come."""
    trial = protocol.id
    sites = unit.sites("form.sign", trial)
    if sites is not None and not sites:
        return []
    states = studies.states(unit, trial, protocol.machine)
    rows = unit.session.execute(
        select(Participant.id, Participant.site, func.count())
        .join(FormInstance, (FormInstance.trial_id == Participant.trial_id) & (FormInstance.participant_id == Participant.id))
        .where(Participant.trial_id == trial, FormInstance.status.in_(("complete", "verified")))
        .group_by(Participant.id, Participant.site, Participant.enrolled_site, Participant.number)
        .order_by(Participant.site, Participant.enrolled_site, Participant.number)
    )
    found = [
        Waiting(ident, site, states.get(ident, ""), count, states.get(ident) in _OVER)
        for ident, site, count in rows
        if sites is None or site in sites
    ]
    return sorted(found, key=lambda one: not one.over)


#: States of a participant after which the casebook is signed.
_OVER = ("completed", "withdrawn", "died", "lost")


def wrong_password() -> Forbidden:
    """What a door says where a signature was refused for its password."""
    return Forbidden(
        "The password is not right: nothing was signed.",
        code="SIGN.PASSWORD",
        needs="The password with which you sign in. After five wrong ones it takes a while until the next try counts.",
        details=[Detail("SIGN.PASSWORD", "The password is not right: type it again.", "password")],
    )

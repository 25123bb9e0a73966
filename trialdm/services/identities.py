"""Identities of participants, in trials that keep them in the vault: entering one, looking at one, and making one unreadable for good.

No identity comes into the research database: what stands there is who did what, when and why (`IdentityAct`). Every look is on
record before anything is shown, and what was found is given once, in the answer to the act that asked for it.
"""

import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from sqlalchemy import func, select

from trialdm.documents.page import Document, Facts, Section, Words
from trialdm.domain import audit, identifiers, identity
from trialdm.domain.crf import Finding, Form
from trialdm.domain.errors import Conflict, Detail, Forbidden, Invalid, Missing, Refused, VaultAway, WrongState
from trialdm.domain.identity import Identity, Likeness, Vault
from trialdm.services import casebooks, notices, participants, studies
from trialdm.services.places import Place
from trialdm.services.unit import LONDON, Change, Unit, needed, remember
from trialdm.store.tables import Account, IdentityAct, Participant, Trial

#: How long an identity that was asked for may be opened after it was confirmed, and how long one may be confirmed.
OPEN, CONFIRM = timedelta(hours=1), timedelta(hours=24)

#: How long a page that shows an identity may stand open.
SHOWN = timedelta(minutes=5)

#: How long after a look was recorded the vault may be asked for it.
_AT_ONCE = timedelta(minutes=2)

_MOST = 300


@dataclass(frozen=True)
class Look:
    """A look that is on record: whose identity may be shown, once, to whoever it was recorded for."""

    trial: str
    participant: str
    id: str


# --- entering --------------------------------------------------------------------------------------------------------


def add(unit: Unit, trial: str, site: str, given: Mapping[str, str] | None = None, *, later: str = "", different: str = "") -> Participant:
    """Add a participant as a person does it: with their identity where the trial keeps identities, or with a reason why it is to follow.

    `different` says why somebody of the same name and date of birth is another person. Raises what `participants.add` raises,
    Invalid for what cannot be, and Conflict for somebody who is in the trial already.
    """
    protocol = studies.protocol(unit, trial)
    if protocol.identity != "vault":
        if given or later:
            raise Invalid(
                "This trial keeps no identities: names stay at the site.", code="IDENTITY.SITE_HELD", needs="Leave the identity out."
            )
        return participants.add(unit, trial, site)
    unit.require("history.import" if protocol.historical else "participant.add", trial, site)
    if not given:
        if not later:
            raise Invalid(
                "Enter who the participant is, or say why that is to follow.", code="IDENTITY.NEEDED", needs="An identity, or a reason."
            )
        row = participants.add(unit, trial, site)
        _keep(unit, row, "later", _words(later))
        return row
    unit.require("identity.enter", trial, site)
    who = identity.read(given, world=unit.world, today=unit.today)
    row = participants.add(unit, trial, site, partial(_drawn, unit, trial, who, _words(different) if different else ""))
    _keep(unit, row, "enter", different)
    return row


def enter(unit: Unit, trial: str, participant: str, given: Mapping[str, str], *, different: str = "") -> None:
    """Enter the identity of a participant for whom it was to follow. Raises Conflict where it was entered, or is somebody else's."""
    row = participants.find(unit, trial, participant, "identity.enter")
    _require_kept(unit, trial)
    who = identity.read(given, world=unit.world, today=unit.today)
    said = _words(different) if different else ""
    if shredded(unit, row) or entered(unit, row):
        raise Conflict(f"The identity of participant {row.id} was entered already.", code="IDENTITY.ENTERED", needs="Nothing.")
    _drawn(unit, trial, who, said, row.id)
    _keep(unit, row, "enter", said)


def _drawn(unit: Unit, trial: str, who: Identity, different: str, participant: str = "") -> str:
    """The pseudonym under which the vault keeps an identity as pending. It becomes active with the commit of this unit."""
    vault = _vault(unit)
    if identity.found_in(who, different):
        raise Invalid("The reason names the person. Say it without a name.", code="IDENTITY.REASON", needs="Words that identify nobody.")
    like = vault.enter(trial, who, by=unit.actor.id, participant=participant, different=bool(different))
    if like.kind != "new":
        raise _known(unit, trial, like)
    unit.afterwards(partial(vault.settle, trial, like.participant), undone=partial(vault.withdraw, trial, like.participant))
    return like.participant


def duplicate(unit: Unit, trial: str, given: Mapping[str, str], site: str) -> None:
    """Ask whether a person is in the trial already, before anything is added. Raises Conflict where they are, or may be."""
    _require_kept(unit, trial)
    unit.require("identity.enter", trial, site)
    like = _vault(unit).likeness(trial, identity.read(given, world=unit.world, today=unit.today))
    if like.kind != "new":
        raise _known(unit, trial, like)


def _known(unit: Unit, trial: str, like: Likeness) -> Conflict:
    """What may be said of somebody who is in the trial already: their pseudonym to their own site only."""
    if like.kind == "waiting":
        return Conflict("Somebody is adding this person at this moment.", code="IDENTITY.WAITING", needs="Look again in a few minutes.")
    row = unit.session.get(Participant, (trial, like.participant))
    own = row is not None and unit.may("identity.see", trial, row.site)
    shows = {"participant": like.participant} if own else {}
    office = "Ring the trial's office: do not add the person."
    if like.kind == "number":
        message = "This NHS number belongs to somebody in this trial whose name and date of birth are different."
        return Conflict(message, code="IDENTITY.NUMBER", needs="Check the number. If it is right, ring the trial's office.", shows=shows)
    if like.kind == "possible":
        message = "Somebody of this name and date of birth is in this trial"
        message += f": participant {like.participant}." if own else ", at another site."
        return Conflict(
            message, code="IDENTITY.POSSIBLE", needs="If it is another person, say how you know. " + ("" if own else office), shows=shows
        )
    if own:
        return Conflict(
            f"This person is already in this trial: participant {like.participant}.",
            code="IDENTITY.DUPLICATE",
            needs="Use that participant.",
            shows=shows,
        )
    return Conflict("This person is already taking part at another site.", code="IDENTITY.DUPLICATE", needs=office)


# --- what is known without looking -----------------------------------------------------------------------------------


def kept(unit: Unit, trial: str) -> bool:
    """Whether this trial keeps identities in the vault."""
    return studies.protocol(unit, trial).identity == "vault"


def entered(unit: Unit, row: Participant) -> bool:
    """Whether the vault holds the identity of a participant."""
    return remember(unit, ("identity", row.trial_id, row.id), lambda: bool(acts(unit, row, "enter"))) and not shredded(unit, row)


def shredded(unit: Unit, row: Participant) -> bool:
    """Whether the identity was made unreadable for good."""
    return remember(unit, ("shredded", row.trial_id, row.id), lambda: bool(acts(unit, row, "shred")))


def acts(unit: Unit, row: Participant, *wanted: str) -> list[IdentityAct]:
    """What was done about the identity of a participant, oldest first."""
    about = (IdentityAct.trial_id == row.trial_id, IdentityAct.participant_id == row.id, IdentityAct.act.in_(wanted))
    return list(unit.session.scalars(select(IdentityAct).where(*about).order_by(IdentityAct.at, IdentityAct.id)))


# --- looking ---------------------------------------------------------------------------------------------------------


def see(unit: Unit, trial: str, participant: str, reason: str) -> Look:
    """Put on record that staff of the participant's own site look at the identity; `shown` gives it once this is committed.

    On pages they have just proved who they are. Raises Forbidden for other people, Refused beyond so many looks an hour.
    """
    row = participants.find(unit, trial, participant, "identity.see")
    _require_kept(unit, trial)
    unit.attempt(trial, "identity.see", site=row.site)
    _require_there(unit, row)
    unit.require_proof()
    said = _about(unit, row, reason)
    _require_seldom(unit)
    return _looked(unit, row, _keep(unit, row, "see", said))


def shown(unit: Unit, look: Look) -> Identity:
    """The identity, for a look that is committed. Raises Forbidden without one, or later than at once."""
    row = unit.session.get(IdentityAct, (look.trial, look.id))
    mine = row is not None and row.by == unit.actor.id and row.act in ("see", "open") and row.participant_id == look.participant
    if row is None or not mine or unit.now - row.at > _AT_ONCE:
        raise Forbidden("No look at this identity is on record.", code="IDENTITY.LOOK", needs="Ask for it again, with a reason.")
    vault = _vault(unit)
    vault.settle(look.trial, look.participant)  # a crash may have come between the entry and this
    return vault.show(look.trial, look.participant, by=unit.actor.id)


def _require_seldom(unit: Unit) -> None:
    """Raises Refused beyond so many looks an hour, in all trials together; looks of one person wait for each other."""
    most = _vault(unit).views_per_hour
    unit.session.execute(select(Account.id).where(Account.id == unit.actor.id).with_for_update())
    seen = select(func.count()).where(
        IdentityAct.by == unit.actor.id, IdentityAct.act.in_(("see", "open")), IdentityAct.at > unit.now - timedelta(hours=1)
    )
    if (unit.session.scalar(seen) or 0) >= most:
        raise Refused(
            f"You have looked at {most} identities within an hour, which is the most.",
            code="IDENTITY.OFTEN",
            needs="Look again later; the list of names is kept at the site.",
        )


def _looked(unit: Unit, row: Participant, act: IdentityAct) -> Look:
    unit.session.flush()
    return Look(row.trial_id, row.id, act.id)


# --- somebody of elsewhere: two people -------------------------------------------------------------------------------


def ask(unit: Unit, trial: str, participant: str, reason: str) -> str:
    """Ask to see the identity of a participant of another site; a second person confirms it. Gives the id of the request."""
    unit.require("identity.ask", trial)
    _require_kept(unit, trial)
    row = participants.known(unit, trial, participant)
    if unit.may("identity.see", trial, row.site):
        raise WrongState("Your own site looks at the identity without asking.", code="IDENTITY.OWN", needs="The page of the participant.")
    _require_there(unit, row)
    act = _keep(unit, row, "ask", _about(unit, row, reason))
    wanted = ("principal-investigator", "trial-manager", "chief-investigator", "sponsor")
    _tell(unit, row, wanted, f"{unit.actor.name} asks to see who participant {row.id} is. A second person confirms or declines it.")
    return act.id


def decide(unit: Unit, trial: str, request: str, reason: str, *, agree: bool) -> None:
    """Confirm or decline, as the second person. Raises Forbidden for whoever asked."""
    asked, row = _request(unit, trial, request, "ask")
    unit.require("identity.confirm", trial, row.site)
    if asked.by == unit.actor.id:
        raise Forbidden("You asked for it: somebody else decides.", code="IDENTITY.SAME_PERSON", needs="A second person.")
    if _decided(unit, trial, request) or unit.now - asked.at > CONFIRM:
        raise WrongState("This request is no longer open.", code="IDENTITY.CLOSED", needs="Ask again, where it is still needed.")
    _keep(unit, row, "confirm" if agree else "decline", _about(unit, row, reason), asked.id)
    word = "confirmed" if agree else "declined"
    asker = unit.session.get_one(Account, asked.by)
    words = f"{unit.actor.name} {word} that {asker.name} sees who participant {row.id} is."
    _tell(unit, row, ("principal-investigator", "sponsor"), words, [asked.by])


def open_asked(unit: Unit, trial: str, request: str) -> Look:
    """Look at what was confirmed: whoever asked, once, within an hour."""
    asked, row = _request(unit, trial, request, "ask")
    unit.require("identity.ask", trial)
    if asked.by != unit.actor.id:
        raise Forbidden("Somebody else asked for it.", code="IDENTITY.NOT_YOURS", needs="A request of your own.")
    _require_there(unit, row)
    confirmed = _decided(unit, trial, request)
    if confirmed is None or confirmed.act != "confirm" or unit.now - confirmed.at > OPEN or _of(unit, trial, request, "open"):
        raise WrongState(
            "This request was not confirmed within the hour, or was used.",
            code="IDENTITY.CLOSED",
            needs="A second person confirms it.",
        )
    unit.require_proof()
    _require_seldom(unit)
    act = _keep(unit, row, "open", asked.reason, asked.id)
    words = f"{unit.actor.name} has looked at who participant {row.id} is, with the agreement of a second person."
    _tell(unit, row, ("principal-investigator", "sponsor"), words)
    return _looked(unit, row, act)


@dataclass(frozen=True)
class Request:
    """A request to see an identity, as a person may know it. `state` is asked, confirmed, declined, opened or ended."""

    id: str
    participant: str
    site: str
    state: str
    asked_by: str
    asked_at: datetime
    reason: str
    mine: bool
    decides: bool

    def to_json(self) -> dict[str, Any]:
        return {**vars(self), "asked_at": self.asked_at.isoformat(timespec="seconds")}


def requests(unit: Unit, trial: str) -> list[Request]:
    """Requests that the person made or may decide, newest first."""
    if not (unit.may("identity.ask", trial) or unit.may("identity.confirm", trial)):
        unit.require("identity.ask", trial)
    rows = unit.session.scalars(
        select(IdentityAct).where(IdentityAct.trial_id == trial, IdentityAct.act == "ask").order_by(IdentityAct.at.desc()).limit(_MOST)
    ).all()
    names = casebooks.names(unit, {row.by for row in rows})
    found = []
    for row in rows:
        person = unit.session.get_one(Participant, (trial, row.participant_id))
        mine, decides = row.by == unit.actor.id, unit.may("identity.confirm", trial, person.site)
        state = _state(unit, row)
        if mine or decides:
            by = names.get(row.by, row.by)
            found.append(
                Request(row.id, person.id, person.site, state, by, row.at, row.reason, mine, decides and not mine and state == "asked")
            )
    return found


def _state(unit: Unit, asked: IdentityAct) -> str:
    decided = _decided(unit, asked.trial_id, asked.id)
    if _of(unit, asked.trial_id, asked.id, "open"):
        return "opened"
    if decided is None:
        return "ended" if unit.now - asked.at > CONFIRM else "asked"
    if decided.act == "decline":
        return "declined"
    return "ended" if unit.now - decided.at > OPEN else "confirmed"


def _request(unit: Unit, trial: str, request: str, act: str) -> tuple[IdentityAct, Participant]:
    row = unit.session.get(IdentityAct, (trial, request))
    found = needed(row if row and row.act == act else None, "There is no such request.", code="IDENTITY.REQUEST")
    unit.session.execute(
        select(Participant.id).where(Participant.trial_id == trial, Participant.id == found.participant_id).with_for_update(read=True)
    )
    return found, unit.session.get_one(Participant, (trial, found.participant_id))


def _of(unit: Unit, trial: str, request: str, *wanted: str) -> IdentityAct | None:
    about = (IdentityAct.trial_id == trial, IdentityAct.request == request, IdentityAct.act.in_(wanted))
    return unit.session.scalars(select(IdentityAct).where(*about)).first()


def _decided(unit: Unit, trial: str, request: str) -> IdentityAct | None:
    return _of(unit, trial, request, "confirm", "decline")


# --- in a text -------------------------------------------------------------------------------------------------------


def findings(unit: Unit, place: Place, values: Mapping[str, Any], confirmed: Iterable[str]) -> tuple[list[Finding], list[Finding]]:
    """The participant's own identifiers in the free text of a form (GOV-41): what was found, and what of it somebody answered.

    The vault says which kinds there are, and gives no name. Where it is away that is a finding of its own: the form can be saved.
    """
    texts = {name: str(values[name]) for name in _scanned(place.form) if isinstance(values.get(name), str) and values[name].strip()}
    if not texts or place.protocol.identity != "vault" or unit.vault is None or not entered(unit, place.participant):
        return [], []
    found = list(_found(unit.vault, place, texts))
    agreed = frozenset(confirmed)
    answered = [one for one in found if one.severity == "soft" and one.id in agreed]
    return [one for one in found if one not in answered], answered


def require_unnamed(unit: Unit, place: Place, words: Iterable[str]) -> None:
    """Raises Invalid for words kept beside a form (a reason, a note) that hold the participant's own identifiers."""
    text = "\n".join(said for said in words if said.strip())
    if not text or place.protocol.identity != "vault" or unit.vault is None or not entered(unit, place.participant):
        return
    try:
        kinds = unit.vault.contains(place.protocol.id, place.participant.id, text)
    except VaultAway:  # what certainly identifies somebody is found without it (`identifiers.require_none`)
        return
    if kinds:
        raise _named(kinds[0])


def _named(kind: str) -> Invalid:
    message = f"This looks like {identity.KINDS[kind][0]}. Remove it."
    detail = Detail("GATE.GOV-41", message, "reason")
    return Invalid(message, code="GATE.GOV-41", needs="Words that identify nobody.", details=[detail])


def _scanned(form: Form) -> list[str]:
    return [item.name for item in form.items if item.scan]


def _found(vault: Vault, place: Place, texts: Mapping[str, str]) -> Iterable[Finding]:
    trial, ident = place.protocol.id, place.participant.id
    try:
        if not vault.contains(trial, ident, "\n".join(texts.values())):
            return
        for name, text in texts.items():
            label = place.form.by_name[name].label
            for kind in vault.contains(trial, ident, text):
                words, certain = identity.KINDS[kind]
                message = f"{label}: this looks like {words}. Remove it."
                key = f"GOV-41.{name}.{kind}"
                yield Finding(key, "GATE.GOV-41", "hard" if certain else "soft", message, (name,), rule="GOV-41")
    except VaultAway:
        message = "Whether the text names the participant could not be checked: the identity vault does not answer. Read it again yourself."
        yield Finding("GOV-41.UNCHECKED", "GATE.GOV-41", "soft", message, tuple(texts), rule="GOV-41")


# --- making one unreadable for good ----------------------------------------------------------------------------------


def shred(unit: Unit, trial: str, participant: str, reason: str) -> bool:
    """Ask for it, or as the second person do it; gives whether it was done. What it does not reach stands in the certificate."""
    unit.require("identity.shred", trial)
    _require_kept(unit, trial)
    row = participants.known(unit, trial, participant)
    unit.attempt(trial, "identity.shred", site=row.site)
    unit.require_proof()
    _require_there(unit, row)
    said = _about(unit, row, reason)
    asked = next(iter(reversed(acts(unit, row, "shred-ask"))), None)
    if asked is None or unit.now - asked.at > CONFIRM:
        _keep(unit, row, "shred-ask", said)
        words = f"{unit.actor.name} asks to make the identity of participant {row.id} unreadable for good. A second person does it."
        _tell(unit, row, ("trial-manager", "sponsor", "principal-investigator"), words)
        return False
    if asked.by == unit.actor.id:
        raise Forbidden(
            "You asked for it: somebody else does it.", code="IDENTITY.SAME_PERSON", needs="Another trial manager, or the sponsor."
        )
    _keep(unit, row, "shred", said, asked.id)
    vault = _vault(unit)
    unit.afterwards(partial(vault.shred, trial, row.id, by=unit.actor.id), undone=lambda: None)
    _tell(unit, row, ("principal-investigator", "sponsor"), f"The identity of participant {row.id} was made unreadable for good.")
    return True


#: What shredding does not reach; it stands in every certificate and in the guide.
LIMITS = (
    "Backups of the vault made before hold the wrapped key until they expire, or until every version of the key-encryption key that "
    "wrapped it is retired and no copy of it is left.",
    "Exports, logs, printed paper, letters, memory, and what the site keeps itself are untouched.",
    "The research record stays as it is, under the pseudonym: withdrawing is not erasing.",
    "The law and the trial's own rules may demand that the site keeps a list of names for years after the trial.",
    "Facts that few people share (a rare diagnosis with a date and a site) may still tell who somebody is.",
)


def certificate(unit: Unit, trial: str, participant: str) -> Document:
    """What was made unreadable, by whom and why, and what that does not reach. Raises WrongState before it was."""
    if not unit.may("identity.shred", trial):
        unit.require("identity.trail", trial)
    row = participants.known(unit, trial, participant)
    if not unit.may("identity.shred", trial):
        unit.require("identity.trail", trial, row.site)
    done = next(iter(acts(unit, row, "shred")), None)
    if done is None:
        raise WrongState("This identity was not shredded.", code="IDENTITY.NOT_SHREDDED", needs="Two people shred it.")
    asked = unit.session.get_one(IdentityAct, (trial, done.request))
    at = _vault(unit).shred(trial, row.id, by=done.by)
    names = casebooks.names(unit, {asked.by, done.by})
    facts = [
        ("Trial", studies.protocol(unit, trial).short_title),
        ("Participant", row.id),
        ("Asked for by", f"{names[asked.by]}, {asked.at.astimezone(LONDON):%d %B %Y at %H:%M}"),
        ("Reason", asked.reason),
        ("Done by", f"{names[done.by]}, {done.at.astimezone(LONDON):%d %B %Y at %H:%M}"),
        ("Reason of the second person", done.reason),
        ("The vault destroyed it at", f"{at} (UTC)"),
    ]
    what = Words("The key of this person, the sealed fields and the blind indexes were deleted from the identity vault. A tombstone stays.")
    return Document(
        f"Identity of participant {row.id} destroyed",
        "Certificate of cryptographic shredding",
        [Section("What was done", [Facts(facts), what]), Section("What this does not do", [Words(limit) for limit in LIMITS])],
    )


def certificates(unit: Unit, trial: str) -> list[str]:
    """The participants whose identities were shredded, for whoever may."""
    if not unit.may("identity.shred", trial):
        return []
    done = select(IdentityAct.participant_id).where(IdentityAct.trial_id == trial, IdentityAct.act == "shred").order_by(IdentityAct.at)
    return list(unit.session.scalars(done))


# --- what was left over ----------------------------------------------------------------------------------------------


def reconcile(unit: Unit, minutes: int) -> dict[str, int]:
    """Make vault and research database agree after a crash: what stands here becomes active there, and what does not is forgotten
    once it is older than so many minutes. Doing it again changes nothing.
    """
    if not any(_keeps(unit, trial) for trial in unit.session.scalars(select(Trial.id))):
        return {"active": 0, "forgotten": 0, "shredded": 0}
    vault, done = _vault(unit), {"active": 0, "forgotten": 0, "shredded": 0}
    for one in vault.waiting():
        if _of_participant(unit, one.trial, one.participant, "enter"):
            vault.settle(one.trial, one.participant)
            done["active"] += 1
        elif one.minutes >= minutes:
            vault.withdraw(one.trial, one.participant)
            done["forgotten"] += 1
    for act in unit.session.scalars(select(IdentityAct).where(IdentityAct.act == "shred")):
        vault.shred(act.trial_id, act.participant_id, by=act.by)
        done["shredded"] += 1
    return done


def _keeps(unit: Unit, trial: str) -> bool:
    try:
        return kept(unit, trial)
    except Missing:  # no protocol yet
        return False


def _of_participant(unit: Unit, trial: str, ident: str, act: str) -> bool:
    about = (IdentityAct.trial_id == trial, IdentityAct.participant_id == ident, IdentityAct.act == act)
    return unit.session.scalars(select(IdentityAct.id).where(*about)).first() is not None


# --- common ----------------------------------------------------------------------------------------------------------


def _vault(unit: Unit) -> Vault:
    if unit.vault is None:
        raise VaultAway("This instance has no identity vault.", needs="The table [vault] in its settings.")
    return unit.vault


def _require_kept(unit: Unit, trial: str) -> None:
    if not kept(unit, trial):
        raise Missing("This trial keeps no identities: names stay at the site.", code="IDENTITY.SITE_HELD", needs="Ask the site.")


def _require_there(unit: Unit, row: Participant) -> None:
    if shredded(unit, row):
        raise WrongState("The identity was made unreadable for good.", code="IDENTITY.SHREDDED", needs="Nothing brings it back.")
    if not entered(unit, row):
        raise WrongState("The identity is to follow.", code="IDENTITY.NONE", needs="Staff of the site enter it.")


def _words(reason: str) -> str:
    """A reason in words. Raises Invalid for one that says nothing, or that identifies a person."""
    said = " ".join(reason.split())
    if not said or len(said) > _MOST:
        raise Invalid("Say why.", code="IDENTITY.REASON", needs=f"A sentence of at most {_MOST} characters that names nobody.")
    audit.require_words("other", said)
    identifiers.require_none(said, "reason")
    return said


def _about(unit: Unit, row: Participant, reason: str) -> str:
    """A reason that says nothing of who the participant is."""
    said = _words(reason)
    kinds = _vault(unit).contains(row.trial_id, row.id, said)
    if kinds:
        raise _named(kinds[0])
    return said


#: Acts that only readers of the identity stream read in the trail.
_ASIDE = ("see", "ask", "confirm", "decline", "open", "shred-ask", "shred")


def _keep(unit: Unit, row: Participant, act: str, reason: str, request: str = "") -> IdentityAct:
    ident = uuid.uuid4().hex
    kept = IdentityAct(
        trial_id=row.trial_id,
        id=ident,
        participant_id=row.id,
        act=act,
        request=request or ident,
        reason=reason,
        at=unit.now,
        by=unit.actor.id,
    )
    unit.add(kept)
    unit.record(
        f"identity.{act}",
        kept,
        trial=row.trial_id,
        entity="participant",
        entity_id=row.id,
        changes=[Change("identity", None, act, "identity" if act in _ASIDE else "open")],
        reason_code="other" if reason else "",
        reason_text=reason,
        site=row.site,
    )
    unit.remembered.pop(("identity", row.trial_id, row.id), None)
    unit.remembered.pop(("shredded", row.trial_id, row.id), None)
    return kept


def _tell(unit: Unit, row: Participant, wanted: tuple[str, ...], words: str, also: Iterable[str] = ()) -> None:
    recipients = [*notices.holders(unit, row.trial_id, wanted, row.site), *also]
    notices.tell(
        unit, row.trial_id, dict.fromkeys(recipients), "identity", f"Participant {row.id}: an identity was asked for", words, row.id
    )

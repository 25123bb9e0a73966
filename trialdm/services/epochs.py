"""Epochs of a scheme: the second signature by which one goes live, and amendments that start the next one."""

import hashlib
import json
from collections.abc import Mapping

from trialdm.definitions.protocols import load_protocol
from trialdm.definitions.sources import read as read_yaml
from trialdm.domain.errors import Conflict, Forbidden, Invalid, WrongState
from trialdm.domain.lifecycle import label
from trialdm.domain.protocol import Protocol
from trialdm.domain.protocol import Scheme as Definition
from trialdm.domain.randomisation import ledger
from trialdm.services import chains, ledgers, lists, schemes, studies
from trialdm.services.schemes import MACHINE, config, held, keys, subject
from trialdm.services.unit import Unit
from trialdm.store.tables import Scheme

#: Parts of a protocol file that an amendment of the allocation may change.
_AMENDABLE = ("arms", "sites", "allocation", "later_allocations")


def sign(unit: Unit, trial: str, *, name: str = "", sha256: str = "", read: str = "") -> Scheme:
    """Sign the specification as the second person: the scheme goes live.

    For an imported list the signer types its SHA-256, as its maker gave it. `read` is the hash of the specification that was
    read, where the signer's screen showed one. Raises Forbidden for the person who prepared it, and Conflict where it is another.
    """
    protocol = studies.protocol(unit, trial)
    unit.require("allocation.sign", trial)
    row = held(unit, schemes.needed(unit, protocol, name))
    if row.created_by == unit.actor.id:
        raise Forbidden(
            "Whoever prepared the scheme has signed for it already; the second signature is somebody else's.",
            code="ALLOC.OWN_SIGNATURE",
            needs="A second person signs.",
        )
    if read and read != schemes.specification_hash(row):
        raise Conflict(
            "The specification has changed since you opened it.", code="ALLOC.SPECIFICATION", needs="Read it as it is now, then sign."
        )
    _same_list(row, sha256)
    _same_protocol(unit, protocol, row)
    studies.move(unit, trial, MACHINE, subject(row), "sign")
    schemes.act(unit, row, "sign", specification=schemes.specification_hash(row))
    before = next((r for r in reversed(schemes.epochs(unit, trial, row.name)[: row.epoch]) if _used(unit, r)), None)
    if before is not None:
        _start_epoch(unit, row, before)
    return row


def _used(unit: Unit, row: Scheme) -> bool:
    return schemes.state(unit, row) not in schemes.PENDING


def _same_protocol(unit: Unit, protocol: Protocol, row: Scheme) -> None:
    """Raises Conflict where the protocol was changed after the commitment; an amendment brings its own protocol."""
    if any(act.act == "amend" for act in schemes.acts(unit, row)):
        return
    kept = {key: config(row)[key] for key in ("list_sha256", "slots") if key in config(row)}
    if schemes.config_of(protocol, protocol.scheme_named(row.name), row.epoch, **kept) != config(row):
        raise Conflict(
            "The protocol's allocation was changed after the commitment: what was committed to is not what the protocol says.",
            code="ALLOC.STALE",
            needs="Withdraw the commitment ('allocation withdraw') and commit again.",
        )


def _same_list(row: Scheme, sha256: str) -> None:
    expected = config(row).get("list_sha256", "")
    typed = "".join(sha256.split()).lower()
    if expected and not typed:
        raise Invalid(
            "Type the SHA-256 of the list, as whoever made it gave it to you.", code="ALLOC.SHA256", needs="64 hexadecimal digits."
        )
    if expected and typed != expected:
        raise Conflict(
            "The SHA-256 that you typed is not that of the list that was imported.",
            code="ALLOC.SHA256",
            needs="Compare the file with whoever made it; import the right one.",
        )
    if typed and not expected:
        raise Invalid("This scheme has no list: it is derived.", code="ALLOC.SHA256", needs="Sign without a SHA-256.")


def go_live_as_history(unit: Unit, row: Scheme) -> None:
    """A finished trial's list needs no second person: nothing is allocated from it any more."""
    studies.move(unit, row.trial_id, MACHINE, subject(row), "sign")


# --- amendments ------------------------------------------------------------------------------------------------------


def amend(unit: Unit, trial: str, texts: Mapping[str, str], *, reason: str, name: str = "", list_text: str = "") -> Scheme:
    """Commit to a changed scheme (an arm dropped, a probability changed, a site added) as a new epoch.

    `texts` are the protocol's files with the change; nothing else may differ, and a new version is needed. The epoch in use
    goes on until a second person has signed the new one. Raises Invalid naming what else was changed.
    """
    protocol = studies.protocol(unit, trial)
    unit.require("allocation.prepare", trial)
    before = held(unit, schemes.needed(unit, protocol, name))
    _no_version_waits(unit, protocol)
    if schemes.state(unit, before) not in ("live", "paused"):
        raise WrongState(
            f"The newest epoch of the scheme is {label(schemes.state(unit, before))}.",
            code="STATE.SCHEME",
            needs="It is live or paused; one that waits to be signed can be withdrawn ('allocation withdraw').",
        )
    if len(reason.strip()) < 5:
        raise Invalid("Say why the scheme is changed.", code="ALLOC.REASON", needs="A few words, and the approval's reference.")
    changed = load_protocol(texts)
    if f"{trial}/protocol.yaml" not in texts:
        raise Invalid("These are not the files of this trial.", code="ALLOC.AMENDMENT", needs="The trial's folder, with its protocol.yaml.")
    _only_allocation(unit, trial, texts)
    definition = changed.scheme_named(before.name)
    _keeps_dropped_arms(protocol.scheme_named(before.name), protocol, changed)
    number = len(schemes.epochs(unit, trial, before.name))
    found = schemes.config_of(changed, definition, number, amends=True)
    passing = {"epoch": 0, "burn_in": 0}
    if {**found, **passing} == {**config(before), **passing} and not list_text:
        raise Invalid("The files change nothing about this scheme.", code="ALLOC.SAME")
    if definition.method == "list":
        slots = lists.read(definition, list_text)
        row = schemes.seal_list(unit, changed, definition, slots, hashlib.sha256(list_text.encode()).hexdigest(), number)
    else:
        row = schemes.make(unit, changed, found)
    schemes.act(unit, row, "amend", reason=reason.strip(), texts=dict(texts), definition=studies.definition(unit, trial).seq)
    return row


def _no_version_waits(unit: Unit, protocol: Protocol) -> None:
    """Raises WrongState while a version of the protocol is used at some sites but not all: a new epoch is in force everywhere."""
    taken: dict[int, set[str]] = {}
    for use in studies.uses(unit, protocol.id):
        taken.setdefault(use.seq, set()).add(use.site)
    rows = {row.seq: row for row in studies.loaded(unit, protocol.id)}
    newest_everywhere = max(seq for seq, row in rows.items() if row.state == studies.IN_FORCE)
    states = studies.states(unit, protocol.id, "site")
    for seq in (seq for seq in taken if seq > newest_everywhere):
        sites = {site.code for site in studies.parsed(rows[seq]).sites if states.get(site.code) != "closed"}
        behind = sorted(site for site in sites if studies.definition_at(unit, protocol.id, site).seq < seq)
        if behind:
            raise WrongState(
                f"Protocol version {rows[seq].version} is used at {', '.join(sorted(taken[seq]))}, and not yet at {', '.join(behind)}.",
                code="ALLOC.VERSION_WAITS",
                needs="Every site that is not closed takes the version up; then the allocation is changed from the files of that version.",
            )


def _no_version_since(unit: Unit, trial: str, start: int) -> None:
    """Raises Conflict where a version of the protocol went live after an amendment was prepared: its files would take it back."""
    now = studies.definition(unit, trial)
    if any(use.seq > start for use in studies.uses(unit, trial)):
        raise Conflict(
            f"The protocol went on to version {now.version} after this amendment was prepared.",
            code="ALLOC.STALE",
            needs="Withdraw the amendment ('allocation withdraw'), and amend again from the files of that version.",
        )


def _only_allocation(unit: Unit, trial: str, texts: Mapping[str, str]) -> None:
    """Raises Invalid where the files differ from those in force in more than the allocation."""
    before: dict[str, str] = json.loads(studies.definition(unit, trial).texts)
    top = f"{trial}/protocol.yaml"
    others = sorted(path for path in {*before, *texts} - {top} if before.get(path) != texts.get(path))
    old, new = (read_yaml(top, source[top])[0].data for source in (before, texts))
    others += sorted(f"{top}: {key}" for key in {*old, *new} - {*_AMENDABLE, "trial"} if old.get(key) != new.get(key))
    if {**old["trial"], "version": ""} != {**new["trial"], "version": ""}:
        others.append(f"{top}: trial")
    if others:
        raise Invalid(
            f"An amendment of the allocation changes nothing else, but these differ: {', '.join(others)}.",
            code="ALLOC.AMENDMENT",
            needs="Start from the files in force.",
        )
    if old["trial"]["version"] == new["trial"]["version"]:
        raise Invalid("The changed protocol needs a version of its own.", code="ALLOC.VERSION", needs="Another version under 'trial'.")


def _keeps_dropped_arms(before: Definition, old: Protocol, changed: Protocol) -> None:
    known = {arm.name: arm.code for arm in (*changed.arms, *(arm for scheme in changed.schemes for arm in scheme.arms))}
    for arm in (*old.arms, *before.arms):
        if known.get(arm.name) != arm.code:
            raise Invalid(
                f"The arm '{arm.name}' is gone or has another code, but people were allocated to it.",
                code="ALLOC.ARM",
                needs="Keep the arm with its code, and mark it 'closed: true'.",
            )


def _start_epoch(unit: Unit, row: Scheme, before: Scheme) -> None:
    """The signed epoch takes over: the one before is superseded, and the first event names its last hash and its counts.

    Where the one before is paused, so is the new one: a signature lifts nobody's stop.
    """
    held(unit, before)
    paused = schemes.state(unit, before) == "paused"
    amended = next(act for act in schemes.acts(unit, row) if act.act == "amend")
    texts = json.loads(amended.data)["texts"]
    _no_version_waits(unit, studies.protocol(unit, row.trial_id))
    _no_version_since(unit, row.trial_id, int(json.loads(amended.data).get("definition", 0)))
    studies.put_in_force(unit, texts)
    studies.move(unit, row.trial_id, MACHINE, subject(before), "supersede")
    ledgers.sign_head(unit, before)
    event = ledger.epoch_event(
        keys(unit, row),
        at=max(chains.moment(unit, row), chains.moment(unit, before)),
        previous=before.head,
        places=before.places,
        carried=chains.carried(unit, row),
    )
    schemes.act(unit, row, "start", previous=before.head, known=chains.ends(unit, row))
    chains.advance(unit, row, event)
    if paused:
        studies.move(unit, row.trial_id, MACHINE, subject(row), "pause", reason="the epoch before was paused")

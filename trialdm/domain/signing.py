"""What a signature under a form is bound to, and what verifying and signing leave behind once an answer has changed.

A signature holds for one content, one person, one meaning and one moment: its seal covers them all, so that it fits nothing
else. Acts are only added; what still holds is what the fold over them says. Pure functions; keys and moments are arguments.
"""

import hashlib
import hmac
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from trialdm.domain.audit import canonical
from trialdm.domain.crf import Form, Item
from trialdm.domain.roles import ACTIONS

#: Roles that sign forms.
SIGNERS = ACTIONS["form.sign"]

#: What a person says by signing.
MEANINGS = {
    "form": "I have reviewed this form. To the best of my knowledge it is accurate and complete.",
    "casebook": "I have reviewed every form of this participant. To the best of my knowledge the casebook is accurate and complete.",
}


def beside(form: Form) -> frozenset[str]:
    """Items of a form that stand beside what an investigator signs, and not under it.

    They are given by people of whom none signs forms (a code by data management, the sponsor's assessment), or follow from such an
    item without anybody typing them.
    """
    found = {item.name for item in form.items if item.by and not SIGNERS & set(item.by)}
    while True:
        follow = {item.name for item in form.items if not item.typed_in and found & _named(item)} - found
        if not follow:
            return frozenset(found)
        found |= follow


def _named(item: Item) -> set[str]:
    return {name for expression in (item.value, item.show_if) if expression for name in expression.names}


def under(document: Mapping[str, Any], beside: Collection[str]) -> dict[str, Any]:
    """What a signature covers of a form's document: all of it but the answers to items that stand beside it."""
    return {
        part: {name: raw for name, raw in held.items() if name not in beside} if part in ("answers", "missing") else held
        for part, held in document.items()
    }


def content(place: Mapping[str, Any], document: Mapping[str, Any]) -> str:
    """SHA-256 of a form as it stands: where it is (trial, participant, visit, form, row, version, definition) and what it says."""
    return hashlib.sha256(canonical({"place": dict(place), "document": dict(document)})).hexdigest()


def of_many(contents: Iterable[str]) -> str:
    """SHA-256 over the contents of many forms, whatever their order."""
    return hashlib.sha256(canonical(sorted(contents))).hexdigest()


def seal(key: bytes, *, content: str, by: str, name: str, role: str, meaning: str, at: str) -> str:
    """HMAC-SHA-256 that binds a signature to its content, its person, its meaning and its moment (21 CFR 11.70)."""
    return hmac.digest(key, canonical([content, by, name, role, meaning, at]), "sha256").hex()


@dataclass(frozen=True)
class Act:
    """One thing that was done to a form: `verify` or `void` (of an item, or of the form where `item` is empty), `sign`."""

    act: str
    item: str = ""
    version: int = 0
    name: str = ""
    role: str = ""
    meaning: str = ""
    text: str = ""
    at: Any = None
    by: str = ""
    content: str = ""
    seal: str = ""


@dataclass(frozen=True)
class Marks:
    """What holds of a form now. `whole` says that everything was verified but what is in `again`; `items` were verified one by one.

    `signature` is the one that holds, `voided` the last one that a change made void, with that change.
    """

    whole: bool = False
    items: frozenset[str] = frozenset()
    again: frozenset[str] = frozenset()
    signature: Act | None = None
    voided: tuple[Act, Act] | None = None
    verified_by: Act | None = None

    def verified(self, item: str) -> bool:
        """Whether the answer to an item has been compared with its source, and has not changed since."""
        return item in self.items or (self.whole and item not in self.again)

    def covers(self, wanted: Iterable[str]) -> bool:
        """Whether all these items are verified."""
        return all(self.verified(item) for item in wanted)


def fold(acts: Iterable[Act]) -> Marks:
    """What is left of everything that was done to a form, oldest first."""
    whole, items, again = False, set[str](), set[str]()
    signature: Act | None = None
    voided: tuple[Act, Act] | None = None
    verified_by: Act | None = None
    for act in acts:
        if act.act == "verify":
            verified_by = act
            if act.item:
                items.add(act.item)
                again.discard(act.item)
            else:
                whole, again = True, set()
        elif act.act == "void" and act.item:
            items.discard(act.item)
            again.add(act.item)
        elif act.act == "sign":
            signature, voided = act, None
        elif act.act == "void" and signature is not None:
            voided = (signature, act)
            signature = None
    return Marks(whole, frozenset(items), frozenset(again), signature, voided, verified_by)

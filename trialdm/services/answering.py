"""Who answers what on one form: items that name roles are given by these alone, the others by whoever enters the form.

Nobody changes an answer of others, or takes one away; an answer that is missing there keeps the form a draft and nobody from saving.
"""

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

from trialdm.domain import crf, roles, signing, values
from trialdm.domain.crf import Answers, Finding, Form, Item, Verdict
from trialdm.domain.errors import Forbidden
from trialdm.domain.values import NotAValue
from trialdm.services.casebooks import Stored
from trialdm.services.unit import Unit

if TYPE_CHECKING:  # saving a form stands on this room
    from trialdm.services.places import Place
    from trialdm.services.records import Submission


def starts(unit: Unit, place: "Place") -> bool:
    """Whether the actor enters forms of this kind: whoever answers single items of one does not start it."""
    return roles.may_enter(unit.actor.grants, place.form.kind, place.protocol.id, place.participant.site)


def types_twice(unit: Unit, place: "Place", stored: Stored | None) -> bool:
    """Whether the actor, who imports files, may be one of the two who type a form that is entered twice."""
    return place.form.double_entry and stored is None and unit.may("form.import", place.protocol.id, place.participant.site)


def enters(unit: Unit, place: "Place", stored: Stored | None) -> bool:
    """Whether the actor may give anything on this form: all of it, or items of one that was begun."""
    return starts(unit, place) or (stored is not None and any(_named(unit, place, item) for item in place.form.items))


def others(unit: Unit, place: "Place", stored: Stored | None, *, whole: bool = False) -> frozenset[str]:
    """Items that only others may give; who may enter the `whole` form still gives no item that names other roles."""
    whole = whole or starts(unit, place) or types_twice(unit, place, stored)
    given = (item for item in place.form.items if item.typed_in)
    return frozenset(item.name for item in given if not (_named(unit, place, item) if item.by else whole))


def only_beside(unit: Unit, place: "Place", stored: Stored | None) -> bool:
    """Whether all that the actor may give on a form that was begun stands beside what investigators sign (`signing.beside`)."""
    if stored is None:
        return False
    theirs = others(unit, place, stored)
    return {item.name for item in place.form.items if item.typed_in and item.name not in theirs} <= signing.beside(place.form)


def named(unit: Unit, trial: str, site: str, item: Item) -> bool:
    """Whether an item names a role that the actor holds there."""
    return any(grant.role in item.by and grant.covers(trial, site) for grant in unit.actor.grants)


def _named(unit: Unit, place: "Place", item: Item) -> bool:
    return named(unit, place.protocol.id, place.participant.site, item)


def who(form: Form, names: Iterable[str]) -> str:
    """The roles that give these items, for people."""
    named = dict.fromkeys(role for name in names for role in form.by_name[name].by or sorted(roles.FORM_ENTRY[form.kind]))
    return ", ".join(roles.ROLES[role][0] for role in named) or "the system only"


def kept(place: "Place", stored: Stored | None, sent: "Submission", theirs: frozenset[str]) -> Answers:
    """The answers of others as they stand. Raises Forbidden where the submission says something else about one of them."""
    before = stored.answers(place.form) if stored else Answers({}, {})
    touched = [
        item
        for item in place.form.items
        if item.name in theirs
        and (item.name in sent.answers or item.name in sent.missing)
        and not (_same(item, before, sent.answers.get(item.name)) and sent.missing.get(item.name) == before.missing.get(item.name))
    ]
    if touched:
        raise _not_yours(place.form, touched, "change")
    answers = {name: values.write(value) for name, value in before.values.items() if name in theirs}
    return Answers(answers, {name: reason for name, reason in before.missing.items() if name in theirs})


def _same(item: Item, before: Answers, raw: object) -> bool:
    try:
        return values.read(item.type, raw) == before.values.get(item.name)
    except NotAValue:
        return False


def _not_yours(form: Form, items: Iterable[Item], act: str) -> Forbidden:
    found = list(items)
    return Forbidden(
        f"You may not {act} {'; '.join(item.subject for item in found)} ({', '.join(item.name for item in found)}).",
        code="ROLE.ITEM",
        needs=f"One of these roles: {who(form, [item.name for item in found])}.",
    )


def judged(place: "Place", verdict: Verdict, theirs: frozenset[str]) -> tuple[Verdict, bool]:
    """What is left to the actor of what was found, and whether an answer of others is still awaited.

    Nothing at a question of others keeps anybody from saving: what cannot stand there is told to them. Raises Forbidden where
    an answer of others would go because its question is asked no more.
    """
    if not theirs:
        return verdict, False
    form = place.form
    hidden = [f for f in (*verdict.findings, *verdict.confirmed) if f.id == crf.HIDDEN]
    going = [form.by_name[name] for finding in hidden for name in finding.items if name in theirs]
    if going:
        raise _not_yours(form, going, "take away")
    waits = any(f.code == "CRF.REQUIRED" and theirs.issuperset(f.items) for f in verdict.findings)
    return replace(verdict, findings=tuple(_left(form, verdict.findings, theirs))), waits


def _left(form: Form, findings: Iterable[Finding], theirs: frozenset[str]) -> Iterable[Finding]:
    for finding in findings:
        if finding.severity == "alert" or not finding.items or finding.items[0] not in theirs:
            yield finding
        elif finding.severity == "hard" and finding.code != "CRF.REQUIRED":
            yield replace(finding, severity="alert", notify=form.by_name[finding.items[0]].by)

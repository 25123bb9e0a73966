"""Deviations that the system opens where a rule was broken, and settles where the answers that broke it are corrected."""

from collections.abc import Collection, Mapping
from dataclasses import replace
from datetime import date
from typing import Any

from trialdm.domain import crf, lifecycle
from trialdm.domain.crf import Answers, Finding
from trialdm.domain.protocol import Protocol
from trialdm.services import casebooks, signatures, studies
from trialdm.services.casebooks import Casebook
from trialdm.services.places import Place, context, next_row, stream_of
from trialdm.services.unit import Change, Unit


def open_for(unit: Unit, place: Place, book: Casebook, finding: Finding) -> None:
    """A draft deviation about a fact that broke a rule, once for each check and form."""
    stored = book.get(*place.key)
    days = [casebooks.as_day(stored.answers(place.form).values.get(name)) for name in finding.items] if stored else []
    day = next((d for d in days if d is not None), unit.today)
    if finding.deviation is not None:
        open_one(
            unit,
            place.protocol,
            book,
            finding.deviation,
            _where(place, finding.id),
            finding.message,
            day,
            restricted=place.form.restricted,
            graded=finding.deviation_class,
        )


def _where(place: Place, rule: str) -> str:
    """The start of the text of a deviation that a rule opened at a place."""
    return f"{rule} at {place.visit_code} {place.form.code}" + (f" row {place.row}" if place.row > 1 else "")


#: The class of a deviation that is none after all.
_NO_DEVIATION = 0

#: Rules that are judged again whenever the form that dates a fact is saved (`_rules_broken`).
_JUDGED_AGAIN = ("GOV-", "THEATRE-")


def settle(unit: Unit, place: Place, book: Casebook, broken: Collection[str]) -> None:
    """Deviations that the system opened here, that nobody has touched since, and whose rule the corrected answers no longer break.

    They stay, as complete forms of the class "not a deviation".
    """
    found = place.protocol.meaning("deviation_class")
    if found is None or found[1].codelist is None or _NO_DEVIATION not in found[1].codelist.labels:
        return
    form = found[0]
    text = next(item.name for item in form.items if item.means == "deviation_text")
    checks = {check.id for check in place.form.checks}
    for stored in book.rows(form.code, "EV"):
        answers = stored.answers(form)
        said = str(answers.values.get(text, ""))
        rule = said.partition(" ")[0]
        judged = rule in checks or rule.startswith(_JUDGED_AGAIN)
        if (
            stored.status != "draft"
            or stored.instance.seq > 1
            or not judged
            or rule in broken
            or not said.startswith(f"{_where(place, rule)}: ")
        ):
            continue
        note = f"{said} The answers were corrected on {unit.today.isoformat()}, and the rule is kept."
        at = replace(place, visit=place.protocol.visit("EV"), visit_code="EV", form=form, row=stored.instance.row)
        settled = {**answers.to_json()["answers"], found[1].name: _NO_DEVIATION, text: note[:1000]}
        write_row(unit, at, book, settled, "deviation.settle", event="finish", restricted=bool(stored.instance.restricted))


def open_one(
    unit: Unit,
    protocol: Protocol,
    book: Casebook,
    kind: int,
    where: str,
    message: str,
    day: date,
    *,
    restricted: bool = False,
    graded: int = 1,
) -> None:
    """A draft deviation of a kind (the code of its type) and class, unless there is one that starts with the same place."""
    protocol = studies.protocol_at(unit, protocol.id, book.participant.site)
    found = protocol.meaning("deviation_type")
    if found is None:
        return
    form = found[0]
    item_of = {i.means: i.name for i in form.items if i.means}
    rows = book.rows(form.code, "EV")
    said = [s.answers(form).values for s in rows]
    stands = [one for one in said if one.get(item_of["deviation_class"]) != _NO_DEVIATION]
    if any(str(one.get(item_of["deviation_text"], "")).startswith(f"{where}: ") for one in stands):
        return
    hidden = restricted or form.row_restricted({item_of["deviation_type"]: kind})
    row = next_row(book, form, "EV", restricted=hidden)
    answers = {
        item_of["deviation_type"]: kind,
        item_of["deviation_class"]: graded,
        item_of["deviation_date"]: min(day, unit.today).isoformat(),
        item_of["deviation_found"]: unit.today.isoformat(),
        item_of["deviation_text"]: f"{where}: {message}"[:1000],
    }
    at = Place(protocol, book.participant, protocol.visit("EV"), "EV", form, row)
    write_row(unit, at, book, answers, "deviation.open", event="save", restricted=restricted)


def write_row(
    unit: Unit, at: Place, book: Casebook, answers: Mapping[str, Any], action: str, *, event: str, restricted: bool = False
) -> None:
    """A row of a form that the system writes after an act of somebody (`event`: save or finish), recorded as that act."""
    stored = book.get(*at.key)
    was, before = (stored.status, stored.answers(at.form)) if stored else (lifecycle.INITIAL["form"], Answers({}, {}))
    status = lifecycle.move("form", was, event)
    verdict = crf.validate(at.form, answers, {}, context(unit, at, book), complete=event == "finish", confirmed=())
    hidden = restricted or at.form.row_restricted(verdict.answers.values)
    instance, version = casebooks.write(unit, book, at.key, status, verdict.answers, restricted=hidden)
    shown = Change("status", was, status, stream_of(at, instance))
    unit.record(
        action,
        instance,
        version,
        trial=at.protocol.id,
        entity="form",
        entity_id=instance.id,
        changes=[shown, *casebooks.changes(at.form, before, verdict.answers, restricted)],
        site=at.participant.site,
    )
    signatures.void(
        unit, at.protocol, book, book.forms[at.key], [], "the system added a form" if stored is None else "the system settled a form"
    )

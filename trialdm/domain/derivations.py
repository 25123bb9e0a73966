"""Derived items: values of a participant, or of one of their visits, that are calculated over the whole casebook.

A pure function of the answers that are there, the facts of the participant and the protocol: nothing here is stored, and nothing
depends on today. A missing answer makes a value unknown as everywhere in expressions; what has no row is not unknown but absent.
What is open is calculated from what blinded roles may know, whoever asks.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from trialdm.domain import crf, schedule
from trialdm.domain.crf import Context, Form
from trialdm.domain.expressions import Expression
from trialdm.domain.protocol import ANYWHERE, ARM_FACT, HERE, UNSCHEDULED, VISITS, Derivation, Protocol, Read, tells
from trialdm.domain.values import Value

#: Visit, form and row.
Key = tuple[str, str, int]

#: Facts of a visit that values of a visit may name, with the type of each.
VISIT_FACTS = {
    "visit": "text",
    "visit_no": "int",
    "window_open": "date",
    "window_close": "date",
    "window_first": "date",
    "window_last": "date",
}

#: Facts of a row that a derivation over rows may name beside its items.
ROW_FACTS = {"visit": "text", "visit_no": "int", "row": "int"}

#: How a value may be taken over rows, in words.
TAKES = {
    "any": "whether there is one",
    "count": "how many there are",
    "earliest": "the earliest day",
    "latest": "the latest day",
}


@dataclass(frozen=True)
class Known:
    """What is on record of a participant: facts, typed answers by visit, form and row, and which of these rows are hidden from
    blinded roles although their form is open."""

    facts: Mapping[str, Any]
    answers: Mapping[Key, Mapping[str, Value]]
    hidden: frozenset[Key] = frozenset()


@dataclass(frozen=True)
class Derived:
    """The values of one participant, and of each visit that has something to read. What is missing is absent."""

    values: Mapping[str, Value]
    visits: Mapping[str, Mapping[str, Value]] = field(default_factory=dict)


def shown(protocol: Protocol, per: str, *, blinded: bool) -> list[Derivation]:
    """The derivations of participants or of visits that a reader may see, in the order of the protocol."""
    return [one for one in protocol.derivations if one.per == per and not (blinded and one.restricted)]


def derive(protocol: Protocol, known: Known, *, blinded: bool) -> Derived:
    """Every value that a reader may see. What blinded roles may not know is not even looked at for them."""
    open_to_all = {key: answers for key, answers in known.answers.items() if key not in known.hidden}
    facts = {name: value for name, value in known.facts.items() if name != ARM_FACT}
    calculation = _Calculation(protocol, facts, open_to_all)
    for one in (d for d in protocol.derivations if not d.restricted):
        calculation.everywhere(one)
    if not blinded:
        calculation = _Calculation(protocol, known.facts, known.answers, calculation.done)
    of_visits = shown(protocol, "visit", blinded=blinded)
    return Derived(
        calculation.present(shown(protocol, "participant", blinded=blinded), HERE),
        {visit: calculation.present(of_visits, visit) for visit in _visits_read(protocol, of_visits, calculation)},
    )


def _visits_read(protocol: Protocol, of_visits: Sequence[Derivation], calculation: "_Calculation") -> list[str]:
    """Visits at which something is saved that these derivations read there, in the order of the schedule."""
    forms = {found.form for one in of_visits for found in one.reads if found.visit == HERE}
    saved = {visit for visit, form, _ in calculation.answers if form in forms}
    return [visit for visit in calculation.visits if visit in saved]


# --- what is read ----------------------------------------------------------------------------------------------------


def named(one: Derivation) -> set[str]:
    """Everything that it names directly, without the visit."""
    return {name.partition("@")[0] for expression in one.expressions for name in expression.names}


def _reads(protocol: Protocol, by_name: Mapping[str, Derivation], one: Derivation) -> Iterator[Read]:
    facts = {fact.name: fact for fact in protocol.context}
    rows = protocol.form(one.over) if one.over and one.over != VISITS else None
    there = ANYWHERE if one.per == "participant" else HERE
    if rows:
        yield Read(rows.code, "", there)
    for name in {name for expression in one.expressions for name in expression.names}:
        of, _, visit = name.partition("@")
        if rows and of in rows.by_name:
            yield Read(rows.code, of, there)
        elif of in by_name:
            for found in _reads(protocol, by_name, by_name[of]):
                yield Read(found.form, found.item, (visit or there) if found.visit == HERE else found.visit)
        elif "." in of:
            form, _, item = of.partition(".")
            yield Read(form, item, visit or there)
        elif of in facts:
            yield Read(facts[of].form, facts[of].item, facts[of].visit)
        elif of == ARM_FACT:
            yield Read("", ARM_FACT, HERE)


def forms_read(protocol: Protocol) -> set[str]:
    """Codes of the forms that derivations read."""
    return {found.form for one in protocol.derivations for found in one.reads if found.form}


def closed(protocol: Protocol) -> Protocol:
    """The protocol with what each derivation reads: restricted is every one that reads anything which could tell a blinded role
    about the allocation. The loader has refused circles."""
    by_name = {one.name: one for one in protocol.derivations}
    closed_ones = []
    for one in protocol.derivations:
        found = frozenset(_reads(protocol, by_name, one))
        item = replace(one.item, restricted=any(_tells(protocol, read) for read in found))
        closed_ones.append(replace(one, item=item, reads=found))
    return replace(protocol, derivations=tuple(closed_ones))


def _tells(protocol: Protocol, found: Read) -> bool:
    if not found.form:
        return True
    form = protocol.form(found.form)
    if form.restricted_when is not None or not found.item:
        return form.restricted or form.restricted_when is not None
    item = next(item for item in (*form.items, *form.summary) if item.name == found.item)
    hides_codes = item.codelist is not None and any(code.restricted for code in item.codelist.codes)
    return tells(form, item) or hides_codes


# --- the calculation -------------------------------------------------------------------------------------------------


class _Calculation:
    """Calculates what is asked for, each value once. `done` holds what is known already, by name and visit."""

    def __init__(
        self,
        protocol: Protocol,
        facts: Mapping[str, Any],
        answers: Mapping[Key, Mapping[str, Value]],
        done: Mapping[tuple[str, str], Value | None] | None = None,
    ) -> None:
        self.protocol, self.facts, self.answers = protocol, facts, answers
        self.by_name = {one.name: one for one in protocol.derivations}
        self.visits = dict(_visits(protocol, facts, answers))
        self.done: dict[tuple[str, str], Value | None] = dict(done or {})
        self.summaries: dict[tuple[str, str], Mapping[str, Value]] = {}

    def everywhere(self, one: Derivation) -> None:
        for visit in self.visits if one.per == "visit" else (HERE,):
            self.value(one, visit)

    def present(self, wanted: Sequence[Derivation], visit: str) -> dict[str, Value]:
        found = ((one.name, self.value(one, visit)) for one in wanted)
        return {name: value for name, value in found if value is not None}

    def value(self, one: Derivation, visit: str) -> Value | None:
        """The value as it would be stored: rounded to its decimals; one that is none of its codes is missing."""
        key = (one.name, visit if one.per == "visit" else HERE)
        if key not in self.done:
            value = crf.stored(one.item, self._calculated(one, key[1]))
            known = one.item.codelist.labels if one.item.codelist else None
            self.done[key] = None if known is not None and value not in known else value
        return self.done[key]

    def _calculated(self, one: Derivation, visit: str) -> Any:
        if one.applies_if and not one.applies_if.holds(self._scope(one.applies_if, visit)):
            return None
        if one.over:
            return _TAKE[one.take](list(self._pairs(one, visit)))
        return one.value.evaluate(self._scope(one.value, visit), ()) if one.value else None

    def _pairs(self, one: Derivation, visit: str) -> Iterator[tuple[bool | None, Any]]:
        """For each row that is gone over: whether it counts, and its value."""
        for at, row in self._rows(one, visit):
            counts = one.where.evaluate(self._scope(one.where, at, row), ()) if one.where else True
            yield counts, one.value.evaluate(self._scope(one.value, at, row), ()) if one.value else None

    def _rows(self, one: Derivation, visit: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """Each row with the visit at which it stands; of a visit nothing but the visit."""
        if one.over == VISITS:
            yield from ((at, {}) for at in self.visits)
            return
        form = self.protocol.form(one.over)
        for at, code, row in sorted(self.answers):
            if code == form.code and (one.per == "participant" or at == visit):
                about = {"visit": at, "visit_no": _number(self.protocol, at), "row": row}
                yield at, {**dict.fromkeys(form.by_name), **self.answers[(at, code, row)], **about}

    def _scope(self, expression: Expression, visit: str, row: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """The values of what an expression names."""
        return {name: row[name] if row and name in row else self._read(name, visit) for name in expression.names}

    def _read(self, name: str, visit: str) -> Any:
        of, _, elsewhere = name.partition("@")
        at = elsewhere or visit
        if of in self.by_name:
            return self.value(self.by_name[of], at)
        if "." in of:
            form, _, item = of.partition(".")
            return self._answer(self.protocol.form(form), item, at)
        here = self.visits.get(at, {})
        return here[of] if of in here else self.facts.get(of)

    def _answer(self, form: Form, item: str, visit: str) -> Value | None:
        """An answer of a form that is filled once at a visit, or a summary of one with rows."""
        if not form.repeating:
            return self.answers.get((visit, form.code, 1), {}).get(item)
        if (visit, form.code) not in self.summaries:
            rows = [answers for (at, code, _), answers in sorted(self.answers.items()) if (at, code) == (visit, form.code)]
            beside = Context({**self.facts, **self.visits.get(visit, {})})
            self.summaries[(visit, form.code)] = crf.summarise(form, rows, beside) if rows else {}
        return self.summaries[(visit, form.code)].get(item)


def _visits(protocol: Protocol, facts: Mapping[str, Any], answers: Mapping[Key, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Facts of every visit that can have values: those of the schedule, and occasions of the unscheduled visit."""
    occasions = sorted({visit for visit, _, _ in answers if visit[:1] == UNSCHEDULED and visit[1:].isdigit()})
    codes = [visit.code for visit in sorted(protocol.visits, key=lambda visit: visit.number) if visit.kind != "repeating"]
    for code in (*codes, *occasions):
        visit = protocol.visit(code)
        window = schedule.window(visit, facts)
        yield (
            code,
            {
                "visit": visit.code,
                "visit_no": visit.number,
                "window_open": window.opens if window else None,
                "window_close": window.closes if window else None,
                "window_first": schedule.first_day(visit, protocol.visits, facts),
                "window_last": schedule.last_day(visit, protocol.visits, facts),
            },
        )


def _number(protocol: Protocol, visit: str) -> int | None:
    """The number of a visit or of an occasion of one; None for a visit that only an earlier version of the protocol knows."""
    numbers = {one.code: one.number for one in protocol.visits}
    return numbers.get(visit, numbers.get(visit[0]))


# --- over rows -------------------------------------------------------------------------------------------------------

_Pairs = Sequence[tuple[bool | None, Any]]


def _any(pairs: _Pairs) -> bool | None:
    counts = [counts for counts, _ in pairs]
    return True if True in counts else None if None in counts else False


def _count(pairs: _Pairs) -> int | None:
    counts = [counts for counts, _ in pairs]
    return None if None in counts else sum(1 for one in counts if one)


def _earliest(pairs: _Pairs) -> Any:
    return _end(pairs, min)


def _latest(pairs: _Pairs) -> Any:
    return _end(pairs, max)


def _end(pairs: _Pairs, choose: Any) -> Any:
    """The first or last day of the rows that count; missing where a row that may lie beyond it, or may count, is not known."""
    days = [day for counts, day in pairs if counts and day is not None]
    found = choose(days, default=None)
    for counts, day in pairs:
        undated = counts is not False and day is None
        unsure = counts is None and day is not None and (found is None or choose(day, found) != found)
        if undated or unsure:
            return None
    return found


_TAKE = {"any": _any, "count": _count, "earliest": _earliest, "latest": _latest}

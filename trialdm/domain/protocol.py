"""A trial as data: arms, sites, visits, forms, allocation scheme and parameters, as one version of its protocol defines them.

Built by `definitions` from files, read by everything else. Knows nothing about files, participants or approvals.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from functools import cached_property
from typing import Any

from trialdm.domain.crf import Codelist, Form, Item
from trialdm.domain.errors import Missing
from trialdm.domain.expressions import Expression
from trialdm.domain.verification import Sample

#: The four nations, whose approvals differ.
NATIONS = {"ENG": "England", "WAL": "Wales", "SCO": "Scotland", "NIR": "Northern Ireland"}

#: Facts that every expression may use without declaring them, with the type of each.
BUILT_IN_FACTS = {
    "visit": "text",
    "visit_no": "int",
    "today": "date",
    "now": "dtm",
    "row": "int",
    "rand_date": "date",
    "rand_dtm": "dtm",
    "window_open": "date",
    "window_close": "date",
    "window_first": "date",
    "window_last": "date",
}

#: The visit whose occasions are entered as U01, U02 ..
UNSCHEDULED = "U"

#: What the system fills with the version of the list of expected events that a judgement was made against.
EXPECTED_LIST = "expected_list"

#: The one fact that would unblind; only forms that blinded roles never open may use it.
ARM_FACT = "rand_arm"

#: What blinded roles know anyway, although it stands in restricted forms: the schedule counts from the operation.
KNOWN_TO_ALL = frozenset({"surgery_done", "surgery_date"})

#: What a derived item goes over instead of the rows of a form.
VISITS = "visits"

#: Where something is read that stands at no named visit: at the visit in question, or at any.
HERE, ANYWHERE = "", "*"


@dataclass(frozen=True)
class Arm:
    """An arm. A `closed` one is no longer allocated, and kept for those who were allocated to it."""

    code: int
    name: str
    label: str
    ratio: int = 1
    closed: bool = False


@dataclass(frozen=True)
class Site:
    code: str
    name: str
    nation: str
    target: int = 0
    attributes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Visit:
    """A visit. `scheduled` ones have a target day after the anchor and a window around it; `repeating` ones any number.

    `number` is what rules compare (`visit_no`); people see visits in the order of the file.
    """

    code: str
    number: int
    label: str
    kind: str
    anchor: str = ""
    fallback: str = ""
    target: int | None = None
    before: int = 0
    after: int = 0
    mode: str = ""
    blinded_assessor: bool = False


@dataclass(frozen=True)
class Factor:
    """A factor of the allocation: `site`, a coded item of a form at a visit, or (where sites are allocated) an attribute of
    the site. `levels` are code texts in order."""

    name: str
    levels: tuple[str, ...]
    weight: int = 1
    form: str = ""
    visit: str = ""
    item: str = ""


@dataclass(frozen=True)
class Fact:
    """A fact about the participant that rules of other forms may name: one item of one form at one visit."""

    name: str
    form: str
    visit: str
    item: str


@dataclass(frozen=True)
class Scheme:
    """One randomisation; `parameters` holds what the method needs (see `randomisation.schemes`).

    `unit` says who is allocated: `participant` or `site`. `baseline` names the visit of which all required forms must be
    complete before. A later scheme comes `after` another, once `ready` (a yes/no item) is answered with yes.
    """

    name: str
    method: str
    arms: tuple[Arm, ...]
    factors: tuple[Factor, ...] = ()
    parameters: Mapping[str, Any] = field(default_factory=dict)
    baseline: str = ""
    unit: str = "participant"
    after: str = ""
    ready: Fact | None = None
    fallback_sizes: tuple[int, ...] = ()


@dataclass(frozen=True)
class Parameter:
    """A number that rules use, with where it comes from."""

    name: str
    value: Decimal
    source: str = ""


@dataclass(frozen=True)
class Instrument:
    """A questionnaire: whether its wording is shipped, loaded under a licence, or only its total is entered."""

    id: str
    form: str
    wording: str
    licence: str
    scoring: str = ""


@dataclass(frozen=True)
class ExpectedEvents:
    """One version of the list of events that are expected in this population, in force since a day.

    `unexpected` are events that are named as not expected, so that nobody looks for them in vain.
    """

    id: str
    version: str
    since: date
    expected: tuple[str, ...]
    unexpected: tuple[str, ...] = ()
    source: str = ""

    @property
    def name(self) -> str:
        """The list and its version, as a judgement keeps it."""
        return f"{self.id} {self.version}"


@dataclass(frozen=True)
class Term:
    """A term of the list of events that comes with the protocol; `up` is the broader term."""

    code: str
    term: str
    up: str = ""


@dataclass(frozen=True, order=True)
class Read:
    """One item that a derivation reads, and where: at a visit, `HERE` or `ANYWHERE`. Without an item, that there is a row at all; the
    allocation has no form."""

    form: str
    item: str
    visit: str


@dataclass(frozen=True)
class Derivation:
    """A derived item: a value of each participant or of each of their visits, calculated over the casebook and never stored.

    `per` is `participant` or `visit`. Without `over`, `value` gives it; with `over` (a form, or `visits`), it is taken over all rows
    for which `where` holds: whether there is `any`, their `count`, or the `earliest` or `latest` day of `value`. There is a value
    only where `applies_if` is true. `meaning` says in a sentence how it comes about, `source` who decided that. `reads` is all that it
    reads, also through other derivations.
    """

    item: Item
    per: str
    meaning: str
    source: str
    value: Expression | None = None
    applies_if: Expression | None = None
    over: str = ""
    take: str = ""
    where: Expression | None = None
    reads: frozenset[Read] = frozenset()

    @property
    def name(self) -> str:
        return self.item.name

    @property
    def restricted(self) -> bool:
        """Whether blinded roles never see it: something that it reads, however far away, is hidden from them."""
        return self.item.restricted

    @property
    def expressions(self) -> tuple[Expression, ...]:
        return tuple(found for found in (self.applies_if, self.where, self.value) if found is not None)


@dataclass(frozen=True)
class Protocol:
    """One version of one trial's protocol.

    `schemes` are its randomisations, the first one first: none where nobody is allocated. `participant_told_after` is the visit
    after which participants are told their allocation; empty where they are not. `primary_outcome` are the answers that make it,
    `verification` the rules by which answers are compared with the source, `expected_events` the versions of the list of expected
    events, `event_terms` the terms by which events are coded where no dictionary is loaded, and `derivations` what is calculated for
    the analysis.
    """

    id: str
    version: str
    short_title: str
    title: str
    study_type: str
    origin: str
    pathway: str
    identity: str
    target_participants: int
    target_months: int
    arms: tuple[Arm, ...]
    sites: tuple[Site, ...]
    visits: tuple[Visit, ...]
    forms: tuple[Form, ...]
    codelists: Mapping[str, Codelist]
    schemes: tuple[Scheme, ...] = ()
    context: tuple[Fact, ...] = ()
    params: Mapping[str, Parameter] = field(default_factory=dict)
    tables: Mapping[str, Mapping[Any, Decimal]] = field(default_factory=dict)
    instruments: tuple[Instrument, ...] = ()
    guidance: Mapping[str, str] = field(default_factory=dict)
    participant_told_after: str = ""
    primary_outcome: tuple[Fact, ...] = ()
    verification: tuple[Sample, ...] = ()
    expected_events: tuple[ExpectedEvents, ...] = ()
    event_terms: tuple[Term, ...] = ()
    derivations: tuple[Derivation, ...] = ()

    @property
    def historical(self) -> bool:
        """A finished trial taken over for analysis: its acts are recorded as history and not gated."""
        return self.origin == "historical"

    @property
    def treats(self) -> bool:
        """Whether it is a study of the treatment pathway: cases of organisations are audited, and nobody is allocated."""
        return self.pathway == "secondary"

    @property
    def machine(self) -> str:
        """The lifecycle of those whom it is about: participants, or cases."""
        return "case" if self.treats else "participant"

    @property
    def scheme(self) -> Scheme:
        """The first randomisation. Raises Missing where nobody is allocated."""
        if not self.schemes:
            raise Missing(
                f"Nobody is allocated in {self.short_title}.",
                code="ALLOC.NO_SCHEME",
                needs="A trial with arms; the treatment pathway has none.",
            )
        return self.schemes[0]

    @property
    def later_schemes(self) -> tuple[Scheme, ...]:
        """The randomisations after the first one."""
        return self.schemes[1:]

    def scheme_named(self, name: str) -> Scheme:
        """The randomisation of this name, the first one where none is named. Raises Missing."""
        first = self.scheme
        found = first if not name else next((scheme for scheme in self.schemes if scheme.name == name), None)
        if found is None:
            raise Missing(f"Trial {self.id} has no allocation scheme '{name}'.", code="ALLOC.NO_SCHEME")
        return found

    @cached_property
    def _forms(self) -> dict[str, Form]:
        return {form.code: form for form in self.forms}

    @cached_property
    def _visits(self) -> dict[str, Visit]:
        return {visit.code: visit for visit in self.visits}

    @cached_property
    def _sites(self) -> dict[str, Site]:
        return {site.code: site for site in self.sites}

    def form(self, code: str) -> Form:
        """The form of this code (in any case). Raises Missing."""
        try:
            return self._forms[code.upper()]
        except KeyError:
            raise Missing(f"Trial {self.id} has no form '{code}'.", code="CRF.NO_FORM") from None

    def visit(self, code: str) -> Visit:
        """The visit of this code; `U01`, `U02` .. are occasions of the repeating visit `U`. Raises Missing."""
        found = self._visits.get(code)
        if found is None and len(code) == 3 and code[0] == UNSCHEDULED and code[1:].isdigit() and code[1:] != "00":
            found = self._visits.get(code[0])
        if found is None or code == UNSCHEDULED:
            raise Missing(f"Trial {self.id} has no visit '{code}'.", code="CRF.NO_VISIT")
        return found

    def site(self, code: str) -> Site:
        """The site of this code. Raises Missing."""
        try:
            return self._sites[code]
        except KeyError:
            raise Missing(f"Trial {self.id} has no site '{code}'.", code="SITE.UNKNOWN") from None

    def arm(self, code: int) -> Arm:
        return next(arm for arm in self.arms if arm.code == code)

    def arm_named(self, name: str) -> Arm:
        return next(arm for arm in self.arms if arm.name == name)

    def param(self, name: str, default: int) -> int:
        """A whole-number parameter, or the default where the protocol does not set it."""
        parameter = self.params.get(name)
        return int(parameter.value) if parameter else default

    def forms_at(self, visit: Visit) -> list[tuple[Form, str]]:
        """Forms of a visit with `required`, `optional` or `event`; an unscheduled visit offers what any visit has."""
        if visit.code == UNSCHEDULED:
            return [(f, "optional") for f in self.forms if set(f.visits) & {v.code for v in self.visits if v.kind == "scheduled"}]
        return [(form, form.visits[visit.code]) for form in self.forms if visit.code in form.visits]

    def expected_on(self, day: date) -> ExpectedEvents | None:
        """The list of expected events in force on a day."""
        return max((one for one in self.expected_events if one.since <= day), key=lambda one: one.since, default=None)

    @cached_property
    def _meanings(self) -> dict[str, tuple[Form, Item]]:
        return {item.means: (form, item) for form in self.forms for item in form.items if item.means}

    def meaning(self, name: str) -> tuple[Form, Item] | None:
        """The form and item that carry a meaning (`crf.MEANINGS`), if this protocol has one."""
        return self._meanings.get(name)

    def rows_at(self, form: Form, visit: Visit) -> bool:
        """Whether the form has rows at this visit: a repeating form anywhere, any form among the events."""
        return form.repeating or (visit.kind == "repeating" and visit.code != UNSCHEDULED)


def tells(form: Form, item: Item) -> bool:
    """Whether the item could tell a blinded role something about the allocation: a restricted one does, unless it is harmless."""
    harmless = not item.unblinds or item.means in KNOWN_TO_ALL or item.system.startswith("factor.")
    return item.system == ARM_FACT or ((form.restricted or item.restricted) and not harmless)

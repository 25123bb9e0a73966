"""A folder of protocol files to one `Protocol`, or every problem in it at once.

`load_protocol` takes the texts of the files (so that a definition can be kept in the database and read again) and reports
problems that only show across places: names that do not exist, circles of calculations, expressions of the wrong kind,
export names that a statistics package could not take, allocation schemes that cannot work.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal, InvalidOperation
from typing import Any

from marshmallow import Schema, ValidationError

from trialdm.definitions import schemas
from trialdm.definitions.allocation import Surroundings, schemes_of
from trialdm.definitions.derivations import Casebook, derivations_of
from trialdm.definitions.kinds import RESULT_KINDS, as_name
from trialdm.definitions.sources import BadDefinition, Place, Problem, Source, check, read
from trialdm.domain import derivations, naming, values
from trialdm.domain.crf import Check, Code, Codelist, Form, Item, circle_of_conditions, in_order_of_need
from trialdm.domain.expressions import KINDS, Expression, ExpressionError, Name, parse
from trialdm.domain.protocol import (
    ARM_FACT,
    BUILT_IN_FACTS,
    UNSCHEDULED,
    Arm,
    Derivation,
    ExpectedEvents,
    Fact,
    Instrument,
    Parameter,
    Protocol,
    Site,
    Term,
    Visit,
    tells,
)
from trialdm.domain.roles import UNBLINDED
from trialdm.domain.verification import Sample

#: Files of a protocol beside its forms.
_FILES = ("protocol.yaml", "codelists.yaml", "derivations.yaml", "source.yaml")

#: The built-in fact from which visits may count.
_RANDOMISED_ON = "rand_date"

#: Meanings of the answers by which everybody sees where a visit stands.
_OF_THE_SCHEDULE = frozenset({"visit_date", "visit_done"})


@dataclass
class _Folder:
    """The files of one protocol while they are being read, and the problems found so far.

    `broken` holds the codes of forms whose file does not fit, and `unsure` the names of items and facts that cannot be
    made out, so that nobody is told that these do not exist.
    """

    protocol: Source
    codelists: Source
    forms: list[Source]
    derivations: Source | None
    problems: list[Problem] = field(default_factory=list)
    broken: set[str] = field(default_factory=set)
    unsure: set[str] = field(default_factory=set)

    def say(self, source: Source, place: Place, message: str) -> None:
        self.problems.append(source.problem(place, message))

    def check(self, source: Source, schema: Schema) -> dict[str, Any]:
        """The data of a file as its schema reads them; nothing of a file that YAML cannot read, which has been said already."""
        if source.data is None:
            return {}
        data, found = check(source, schema)
        self.problems += found
        return data

    def no_form(self, source: Source, place: Place, code: str) -> None:
        if code not in self.broken:
            self.say(source, place, f"there is no form '{code}'")


def load_protocol(texts: Mapping[str, str]) -> Protocol:
    """The protocol that the files define. Raises BadDefinition with every problem.

    `texts` maps a path below the protocols folder (`pre-tmr/protocol.yaml`, `pre-tmr/codelists.yaml`,
    `pre-tmr/forms/pain.yaml`) to the text of the file.
    """
    folder = _open(texts)
    top = folder.check(folder.protocol, schemas.ProtocolSchema())
    codelists = _codelists(folder)
    raw_forms = []
    for source in folder.forms:
        data = folder.check(source, schemas.FormSchema())
        if data:
            raw_forms.append((source, data))
        else:
            folder.broken |= {str(source.data.get("form")) if isinstance(source.data, dict) else "", _stem(source).upper()}
    if not top:
        raise BadDefinition(folder.problems)
    protocol = _build(folder, top, codelists, raw_forms)
    if folder.problems:
        raise BadDefinition(folder.problems)
    return derivations.closed(protocol)


def _open(texts: Mapping[str, str]) -> _Folder:
    sources: dict[str, Source] = {}
    problems: list[Problem] = []
    for path, text in texts.items():
        sources[path], found = read(path, text)
        problems += found
    top = next((path for path in texts if path.endswith("/protocol.yaml")), "")
    if not top:
        raise BadDefinition([Problem(next(iter(texts), "."), 1, "there is no protocol.yaml in the folder"), *problems])
    root = top.removesuffix("protocol.yaml")
    forms = [source for path, source in sources.items() if path.startswith(f"{root}forms/")]
    codelists = sources.get(f"{root}codelists.yaml", Source(f"{root}codelists.yaml", {}))
    for path in sources:
        if not path.startswith(f"{root}forms/") and path.removeprefix(root) not in _FILES:
            problems.append(Problem(path, 1, f"this file has no place in a protocol: {', '.join(_FILES)}, forms/*.yaml"))
    if not forms:
        problems.append(Problem(top, 1, "the protocol has no form: put one file for each into forms/"))
    return _Folder(sources[top], codelists, forms, sources.get(f"{root}derivations.yaml"), problems)


def _stem(source: Source) -> str:
    """The name of a file without its folder and ending."""
    return source.file.rpartition("/")[2].removesuffix(".yaml")


def _codes(raw: Mapping[int, Any], name: str) -> Codelist:
    codes = (Code(value, c["label"], c.get("blinded", ""), c.get("restricted", False)) for value, c in raw.items())
    return Codelist(name, tuple(codes))


def _codelists(folder: _Folder) -> dict[str, Codelist]:
    source = folder.codelists
    found: dict[str, Codelist] = {}
    if source.data and not isinstance(source.data, dict):
        folder.say(source, (), "a map from names of codelists to their codes is expected")
        return found
    for name, entries in (source.data or {}).items():
        if not isinstance(name, str) or not name.startswith("CL_"):
            folder.say(source, (name,), f"a codelist is named CL_ and capital letters, not '{name}'")
            continue
        inner = Source(source.file, {"codes": entries}, {("codes", *p[1:]): n for p, n in source.lines.items() if p[:1] == (name,)})
        data, problems = check(inner, _CodelistSchema())
        folder.problems += problems
        if data:
            found[name] = _codes(data["codes"], name)
            _labels_differ(folder, source, (name,), found[name])
    return found


class _CodelistSchema(Schema):
    codes = schemas.choices("Code to label.")


def _labels_differ(folder: _Folder, source: Source, place: Place, codelist: Codelist) -> None:
    seen: dict[str, int] = {}
    for code in codelist.codes:
        if code.label in seen:
            folder.say(source, (*place, code.value), f"codes {seen[code.label]} and {code.value} have the same label")
        seen[code.label] = code.value


def _unique(folder: _Folder, source: Source, place: str, rows: Iterable[Mapping[str, Any]], key: str, what: str) -> None:
    seen: set[Any] = set()
    for i, row in enumerate(rows):
        if row[key] in seen:
            folder.say(source, (place, i, key), f"{what} '{row[key]}' is defined twice")
        seen.add(row[key])


def _build(
    folder: _Folder, top: Mapping[str, Any], codelists: dict[str, Codelist], raw_forms: list[tuple[Source, dict[str, Any]]]
) -> Protocol:
    source, trial = folder.protocol, top["trial"]
    for own, raw in raw_forms:
        if raw["form"].lower() in naming.TABLES:
            folder.say(own, ("form",), f"'{raw['form']}' is the name of another table of an export: give the form another code")
    _unique(folder, source, "arms", top["arms"], "code", "arm")
    _unique(folder, source, "arms", top["arms"], "name", "arm")
    _unique(folder, source, "sites", top["sites"], "code", "site")
    _unique(folder, source, "visits", top["visits"], "code", "visit")
    _unique(folder, source, "visits", top["visits"], "number", "visit number")
    _unique(folder, source, "context", top["context"], "name", "context fact")
    _unique(folder, source, "primary_outcome", top["primary_outcome"], "name", "part of the primary outcome")
    _unique(folder, source, "expected_events", top["expected_events"], "since", "list of expected events from")
    _unique(folder, source, "event_terms", top["event_terms"], "code", "event term")
    visits = tuple(Visit(**visit) for visit in top["visits"])
    building = _Forms(folder, top, codelists, {v.code for v in visits})
    forms = building.build(raw_forms)
    by_code = {form.code: form for form in forms}
    facts = tuple(Fact(**fact) for fact in top["context"])
    _places(folder, top, visits, by_code)
    _of_its_pathway(folder, top, forms)
    schemes = schemes_of(
        Surroundings(
            top=top,
            forms=by_code,
            visits={visit.code for visit in visits},
            say=lambda place, message: folder.say(source, place, message),
            certain=lambda form, item: form not in folder.broken and item not in folder.unsure,
        )
    )
    return Protocol(
        id=trial["id"],
        version=trial["version"],
        short_title=trial["short_title"],
        title=trial["title"],
        study_type=trial["study_type"],
        origin=trial["origin"],
        pathway=trial["pathway"],
        identity=trial["identity"],
        target_participants=trial["target"]["participants"],
        target_months=trial["target"]["months"],
        arms=tuple(Arm(**arm) for arm in top["arms"]),
        sites=tuple(Site(**site) for site in top["sites"]),
        visits=visits,
        forms=tuple(forms),
        codelists=codelists,
        schemes=tuple(schemes),
        context=facts,
        params={name: Parameter(name, p["value"], p.get("source", "")) for name, p in top["params"].items()},
        tables=building.tables,
        instruments=tuple(Instrument(**instrument) for instrument in top["instruments"]),
        guidance=trial.get("guidance", {}),
        participant_told_after=top.get("unblinding", {}).get("participant_after", ""),
        primary_outcome=tuple(Fact(**fact) for fact in top["primary_outcome"]),
        verification=tuple(_samples(folder, top["verification"], by_code, {visit.code for visit in visits})),
        expected_events=tuple(_expected(top["expected_events"])),
        event_terms=tuple(Term(**term) for term in top["event_terms"]),
        derivations=_derivations(folder, building, forms, visits, facts),
    )


def _derivations(
    folder: _Folder, building: "_Forms", forms: Iterable[Form], visits: tuple[Visit, ...], facts: tuple[Fact, ...]
) -> tuple[Derivation, ...]:
    """What derivations.yaml defines over these forms; nothing where a form is broken, of which it could say nothing certain."""
    source = folder.derivations
    if source is None:
        return ()
    data = folder.check(source, schemas.DerivationsSchema())
    if not data or folder.broken or folder.unsure:
        return ()
    casebook = Casebook(
        forms={form.code: form for form in forms},
        visits=visits,
        facts=facts,
        arms=building.arms,
        tables=building.tables,
        params=building.params,
        say=lambda place, message: folder.say(source, place, message),
        choices=lambda place, raw: building.choices(source, place, raw),
    )
    return tuple(derivations_of(casebook, data["derivations"]))


def _expected(versions: Iterable[Mapping[str, Any]]) -> Iterator[ExpectedEvents]:
    for one in versions:
        yield ExpectedEvents(**{key: tuple(value) if isinstance(value, list) else value for key, value in one.items()})


def _samples(folder: _Folder, rules: Iterable[Mapping[str, Any]], forms: Mapping[str, Form], visits: Collection[str]) -> Iterator[Sample]:
    """The sampling rules of source data verification, each of which names what there is."""
    source = folder.protocol
    for i, rule in enumerate(rules):
        where = ("verification", i)
        for code in rule["forms"]:
            if code not in forms:
                folder.no_form(source, (*where, "forms"), code)
        for code in rule["visits"]:
            if code not in visits:
                folder.say(source, (*where, "visits"), f"there is no visit '{code}'")
        named = [forms[code] for code in rule["forms"] if code in forms]
        if rule["items"] and len(rule["forms"]) != 1:
            folder.say(source, (*where, "items"), "items need the one form to which they belong")
        elif named:
            for item in rule["items"]:
                if item not in named[0].by_name:
                    folder.say(source, (*where, "items"), f"form {named[0].code} has no item '{item}'")
        yield Sample(**{key: tuple(value) if isinstance(value, list) else value for key, value in rule.items()})


def _of_its_pathway(folder: _Folder, top: Mapping[str, Any], forms: Iterable[Form]) -> None:
    """Only a study of the treatment pathway goes without arms and allocation, and it holds nothing but audit forms; a trial none."""
    source, treats = folder.protocol, top["trial"]["pathway"] == "secondary"
    for key in ("arms", "allocation", "later_allocations", "unblinding"):
        if treats and top.get(key):
            folder.say(source, (key,), f"'{key}' has no place in the treatment pathway (pathway: secondary): nobody is allocated there")
    for key in ("arms", "allocation"):
        if not treats and not top.get(key):
            folder.say(source, (), f"'{key}' is missing: only a study of the treatment pathway (pathway: secondary) goes without")
    for form in forms:
        if treats != (form.kind == "audit"):
            which = "only forms of kind audit belong to" if treats else "forms of kind audit belong to no study but one of"
            folder.say(source, (), f"form {form.code} is of kind {form.kind}: {which} the treatment pathway (pathway: secondary)")


def _places(folder: _Folder, top: Mapping[str, Any], visits: tuple[Visit, ...], forms: Mapping[str, Form]) -> None:
    """Context facts, anchors and instruments name what exists and fits."""
    source = folder.protocol
    codes = {visit.code for visit in visits}
    for i, fact in enumerate(top["context"]):
        _fact_place(folder, ("context", i), fact, codes, forms)
    facts = {fact["name"]: fact for fact in top["context"]}
    for i, visit in enumerate(top["visits"]):
        for key in ("anchor", "fallback"):
            for wrong in _anchor_problems(visit.get(key, ""), facts, forms):
                folder.say(source, ("visits", i, key), wrong)
        if visit["kind"] == "scheduled" and (not visit.get("anchor") or visit.get("target") is None):
            folder.say(source, ("visits", i), f"visit {visit['code']} is scheduled: it needs an anchor and a target day")
    for form in forms.values():
        for item in form.items:
            if item.means in _OF_THE_SCHEDULE and (form.restricted or item.restricted):
                folder.say(source, ("visits",), f"{form.code}.{item.name} is restricted: the schedule would show it to blinded roles")
    for i, fact in enumerate(top["primary_outcome"]):
        _fact_place(folder, ("primary_outcome", i), fact, codes, forms)
        item = _item_of(fact, forms)
        if item is not None and tells(forms[fact["form"]], item):
            folder.say(source, ("primary_outcome", i, "item"), f"'{fact['item']}' is restricted: the flow would show it to blinded roles")
    told_after = top.get("unblinding", {}).get("participant_after", "")
    if told_after and told_after not in codes:
        folder.say(source, ("unblinding", "participant_after"), f"there is no visit '{told_after}'")
    for i, instrument in enumerate(top["instruments"]):
        if instrument["form"] not in forms:
            folder.no_form(source, ("instruments", i, "form"), instrument["form"])


def _item_of(fact: Mapping[str, Any], forms: Mapping[str, Form]) -> Item | None:
    form = forms.get(fact["form"])
    return form.by_name.get(fact["item"]) if form else None


def _fact_place(folder: _Folder, place: Place, fact: Mapping[str, Any], visits: set[str], forms: Mapping[str, Form]) -> None:
    """One context fact names an item of a form that is filled once, at a visit at which it is filled; never the arm."""
    source = folder.protocol
    form, item = forms.get(fact["form"]), _item_of(fact, forms)
    if fact["name"] in BUILT_IN_FACTS or fact["name"] == ARM_FACT:
        folder.say(source, (*place, "name"), f"'{fact['name']}' is built in and cannot be declared")
    if form is None:
        folder.no_form(source, (*place, "form"), fact["form"])
    elif item is None:
        if fact["item"] not in folder.unsure:
            folder.say(source, (*place, "item"), f"form {form.code} has no item '{fact['item']}'")
    elif form.repeating:
        folder.say(source, (*place, "form"), f"form {form.code} is repeating: a fact needs a form that is filled once")
    elif form.restricted_when is not None:
        folder.say(source, (*place, "form"), f"form {form.code} has 'restricted_when': a fact would show what is hidden")
    elif item.system == ARM_FACT:
        folder.say(source, (*place, "item"), f"'{fact['item']}' is the allocation: restricted forms name it '{ARM_FACT}', no other may")
    if fact["visit"] not in visits:
        folder.say(source, (*place, "visit"), f"there is no visit '{fact['visit']}'")
    elif form is not None and fact["visit"] not in form.visits:
        folder.say(source, (*place, "visit"), f"form {form.code} is not filled at visit {fact['visit']}")


def _anchor_problems(named: str, facts: Mapping[str, Mapping[str, Any]], forms: Mapping[str, Form]) -> Iterable[str]:
    """Why visits cannot count from this fact: everybody sees the schedule, so it must be a day that everybody may know."""
    if not named or named == _RANDOMISED_ON:
        return
    if named not in facts:
        yield f"'{named}' is not a declared context fact"
        return
    item = _item_of(facts[named], forms)
    if item is not None and item.holds != "date":
        yield f"'{named}' holds no date: visits count from one"
    elif item is not None and tells(forms[facts[named]["form"]], item):
        yield f"'{named}' comes from a restricted item: the schedule would show it to blinded roles"


class _Forms:
    """Builds the forms: first their items without expressions, then the expressions that may name any of them."""

    def __init__(self, folder: _Folder, top: Mapping[str, Any], codelists: Mapping[str, Codelist], visits: set[str]) -> None:
        self.folder, self.top, self.codelists, self.visits = folder, top, codelists, visits
        self.params = {name: p["value"] for name, p in top["params"].items()}
        self.tables = {name: self._table(name, table) for name, table in top["tables"].items()}
        self.factors = {factor["name"] for factor in top.get("allocation", {}).get("factors", ())}
        self.arms = Name("number", frozenset(arm["code"] for arm in top["arms"]))

    def _table(self, name: str, table: Mapping[str, Any]) -> dict[Decimal, Decimal]:
        rows: dict[Decimal, Decimal] = {}
        for key, raw in table["values"].items():
            try:
                number = Decimal(raw) if isinstance(raw, str | int | Decimal) else Decimal("nan")
                if not number.is_finite():
                    raise InvalidOperation
                rows[key] = schemas.sized(number)
            except ValidationError as problem:
                self.folder.say(self.folder.protocol, ("tables", name, "values", key), f"'{raw}' {problem.messages[0]}")
            except InvalidOperation:
                self.folder.say(self.folder.protocol, ("tables", name, "values", key), f"'{raw}' is not a number in quotes")
        return rows

    def build(self, raw_forms: list[tuple[Source, dict[str, Any]]]) -> list[Form]:
        self._names_unique(raw_forms)
        plain = [(source, raw, self._plain(source, raw)) for source, raw in raw_forms]
        facts, telling = self._facts({form.code: form for _, _, form in plain})
        built = [_Expressions(self, source, raw, form, facts, telling).build() for source, raw, form in plain]
        sources = {form.code: (source, raw) for source, raw, form in plain}
        with_rows = {v["code"] for v in self.top["visits"] if v["kind"] == "repeating" and v["code"] != UNSCHEDULED}
        for code, item, message in naming.problems(built, with_rows):
            source, raw = sources[code]
            self.folder.say(source, _item_place(raw, item), f"item '{item}': {message}")
        order = {code: i for i, code in enumerate(_order(raw_forms, self.top))}
        return sorted(built, key=lambda form: order[form.code])

    def _names_unique(self, raw_forms: list[tuple[Source, dict[str, Any]]]) -> None:
        forms: dict[str, str] = {}
        items: dict[str, str] = {}
        checks: dict[str, str] = {}
        meanings: dict[str, str] = {}
        for source, raw in raw_forms:
            code = raw["form"]
            if code.lower() != _stem(source):
                self.folder.say(source, ("form",), f"form {code} belongs in a file named {code.lower()}.yaml")
            if code in forms:
                self.folder.say(source, ("form",), f"form {code} is also defined in {forms[code]}")
            forms[code] = source.file
            for part in ("items", "summary"):
                for i, item in enumerate(raw[part]):
                    name = item.get("name", "")
                    if name and name in items:
                        self.folder.say(source, (part, i, "name"), f"item '{name}' is also defined in form {items[name]}")
                    items.setdefault(name, code)
            for i, item in enumerate(raw["items"]):
                meaning = item.get("means", "")
                if meaning and meaning in meanings:
                    self.folder.say(source, ("items", i, "means"), f"'{meaning}' is also the meaning of {meanings[meaning]}")
                meanings.setdefault(meaning, f"{code} {item.get('name', '')}")
            for i, one in enumerate(raw["checks"]):
                if one["id"] in checks:
                    self.folder.say(source, ("checks", i, "id"), f"check {one['id']} is also defined in form {checks[one['id']]}")
                checks.setdefault(one["id"], code)

    def _plain(self, source: Source, raw: Mapping[str, Any]) -> Form:
        for visit in raw["visits"]:
            if visit not in self.visits:
                self.folder.say(source, ("visits", visit), f"there is no visit '{visit}'")
        if not any("name" in item for item in raw["items"]):
            self.folder.say(source, ("items",), "a form needs at least one item")
        if raw["summary"] and not raw["repeating"]:
            self.folder.say(source, ("summary",), "only a repeating form has a summary over its rows")
        items = tuple(self._items(source, "items", raw["items"]))
        for item in items:
            hidden = raw["restricted"] or item.restricted
            if item.system == ARM_FACT and not hidden:
                self.folder.say(source, _item_place(raw, item.name), f"item '{item.name}' holds the allocation: it must be restricted")
            if item.by and (item.type == "calc" or item.system):
                self.folder.say(
                    source, _item_place(raw, item.name), f"item '{item.name}': 'by' belongs to a question that somebody answers"
                )
            if hidden and set(item.by) - UNBLINDED:
                self.folder.say(source, _item_place(raw, item.name), f"item '{item.name}' is restricted: 'by' names a role that is blinded")
            if not item.unblinds and not hidden:
                self.folder.say(source, _item_place(raw, item.name), f"item '{item.name}': 'unblinds' belongs to a restricted item")
        return Form(
            code=raw["form"],
            title=raw["title"],
            kind=raw["kind"],
            items=items,
            summary=tuple(self._items(source, "summary", raw["summary"])),
            visits=raw["visits"],
            repeating=raw["repeating"],
            double_entry=raw["double_entry"],
            restricted=raw["restricted"],
            instrument=raw.get("instrument", ""),
            introduction=raw.get("introduction", ""),
            previous=raw["previous"],
        )

    def _items(self, source: Source, part: str, raw_items: list[dict[str, Any]]) -> Iterable[Item]:
        section = ""
        for i, raw in enumerate(raw_items):
            if "section" in raw:
                section = raw["section"]
                if "name" in raw:
                    self.folder.say(source, (part, i), "a section heading stands in an entry of its own")
                continue
            absent = [key for key in ("name", "label", "type") if key not in raw]
            if absent:
                self.folder.say(source, (part, i), f"'{absent[0]}' is missing")
                self.folder.unsure |= {raw[key] for key in ("name",) if key in raw}
            if not {"name", "type"} & set(absent):
                yield self._item(source, (part, i), {"label": raw["name"], **raw}, section)

    def _item(self, source: Source, place: Place, raw: Mapping[str, Any], section: str) -> Item:
        item = Item(
            name=raw["name"],
            label=raw["label"],
            type=raw["type"],
            section=section,
            help=raw.get("help", ""),
            unit=raw.get("unit", ""),
            minimum=raw.get("min"),
            maximum=raw.get("max"),
            soft_minimum=raw.get("soft_min"),
            soft_maximum=raw.get("soft_max"),
            decimals=raw.get("decimals", 1 if "dec" in (raw["type"], raw.get("result")) else 0),
            length=raw.get("length", 200),
            lines=raw.get("lines", 1),
            codelist=self.choices(source, place, raw),
            source=raw.get("source", ""),
            required=raw["required"],
            result=raw.get("result", ""),
            restricted=raw["restricted"],
            exported=raw["export"],
            scan=raw["scan"],
            system=raw.get("system", ""),
            means=raw.get("means", ""),
            passes=raw.get("passes"),
            unblinds=raw.get("unblinds", True),
            by=tuple(raw.get("by", ())),
        )
        for message in _item_problems(item, raw, self.factors):
            self.folder.say(source, place, f"item '{item.name}': {message}")
        return item

    def choices(self, source: Source, place: Place, raw: Mapping[str, Any]) -> Codelist | None:
        if "codes" in raw:
            codelist = _codes(raw["codes"], raw["name"].upper())
            _labels_differ(self.folder, source, (*place, "codes"), codelist)
            return codelist
        name = raw.get("codelist")
        if name and name not in self.codelists and self.folder.codelists.data is not None:
            self.folder.say(source, (*place, "codelist"), f"there is no codelist '{name}'")
        return self.codelists.get(name) if name else None

    def _facts(self, forms: Mapping[str, Form]) -> tuple[dict[str, Name], set[str]]:
        """What every form may name beside its own items, and which of these facts could tell something about the allocation."""
        facts = {name: Name(KINDS[type_name]) for name, type_name in BUILT_IN_FACTS.items()}
        telling: set[str] = set()
        for fact in self.top["context"]:
            item = _item_of(fact, forms)
            if item is not None:
                facts[fact["name"]] = as_name(item)
            if item is not None and tells(forms[fact["form"]], item):
                telling.add(fact["name"])
            if fact["form"] in self.folder.broken or fact["item"] in self.folder.unsure:
                self.folder.unsure.add(fact["name"])
        return facts, telling


class _Expressions:
    """Reads the expressions of one form, each against the names that its place may see.

    A place is closed where only unblinded roles see what comes of it: it belongs to a restricted item, or to any item of a
    restricted form, that could tell something about the allocation. Everywhere else nothing that tells may be named.
    """

    def __init__(
        self, forms: _Forms, source: Source, raw: Mapping[str, Any], form: Form, facts: Mapping[str, Name], telling: set[str]
    ) -> None:
        self.folder, self.tables, self.params, self.codelists = forms.folder, forms.tables, forms.params, forms.codelists
        self.source, self.raw, self.form, self.facts = source, raw, form, facts
        self.rows = {item.name: as_name(item) for item in form.items}
        self.summary = {item.name: as_name(item) for item in form.summary}
        self.telling = telling | {item.name for item in (*form.items, *form.summary) if tells(form, item)}
        self.arms = forms.arms

    def build(self) -> Form:
        form = self.form
        items = self._items("items", form.items, {**self.facts, **self.rows})
        if not self._calculations_in_a_circle(items):
            self._conditions_in_a_circle(items)
        summary = self._items("summary", form.summary, {**self.facts, **self.summary})
        self._calculations_in_a_circle(summary)
        restricted_when = self._expression(
            ("restricted_when",), self.raw.get("restricted_when"), self.rows, {"truth"}, over_rows=False, closed=True
        )
        applies_if = self._expression(("applies_if",), self.raw.get("applies_if"), self.facts, {"truth"}, over_rows=False, closed=False)
        checks = [self._check(("checks", i), one) for i, one in enumerate(self.raw["checks"])]
        return replace(
            form,
            items=items,
            summary=summary,
            restricted_when=restricted_when,
            applies_if=applies_if,
            checks=tuple(c for c in checks if c is not None),
        )

    def _items(self, part: str, items: tuple[Item, ...], names: Mapping[str, Name]) -> tuple[Item, ...]:
        built = []
        places = {raw.get("name"): (part, i) for i, raw in reversed(list(enumerate(self.raw[part])))}
        for item in items:
            place = places[item.name]
            given = self.raw[part][place[1]]
            common: dict[str, Any] = {"over_rows": part == "summary", "closed": tells(self.form, item)}
            show_if = self._expression((*place, "show_if"), given.get("show_if"), names, {"truth"}, **common)
            value = self._expression((*place, "value"), given.get("value"), names, RESULT_KINDS.get(item.result, set()), **common)
            built.append(replace(item, show_if=show_if, value=value))
        return tuple(built)

    def _calculations_in_a_circle(self, items: tuple[Item, ...]) -> bool:
        try:
            in_order_of_need(items)
        except ValueError as circle:
            first = str(circle).split(" -> ")[0]
            self.folder.say(self.source, _item_place(self.raw, first), f"the calculations go in a circle: {circle}")
            return True
        return False

    def _conditions_in_a_circle(self, items: tuple[Item, ...]) -> None:
        circle = circle_of_conditions(items)
        if circle:
            message = f"the conditions go in a circle: {' -> '.join(circle)}"
            self.folder.say(self.source, _item_place(self.raw, circle[0]), message)

    def _expression(
        self, place: Place, text: str | None, names: Mapping[str, Name], kinds: set[str], *, over_rows: bool, closed: bool
    ) -> Expression | None:
        """The expression that stands there, over the names that this place may see."""
        if text is None:
            return None
        seen = dict(names) if closed else {name: kind for name, kind in names.items() if name not in self.telling}
        if closed and self.form.restricted:
            seen[ARM_FACT] = self.arms
        rows = {name: kind for name, kind in self.rows.items() if closed or name not in self.telling}
        try:
            expression = parse(text, seen, tables=self.tables, params=self.params, rows=rows)
        except ExpressionError as problem:
            if not any(f"'{name}'" in str(problem) for name in self.folder.unsure):
                self.folder.say(self.source, place, f"{problem}{self._hint(str(problem), place)}")
            return None
        if kinds and expression.kind not in kinds:
            wanted = " or ".join(sorted(kinds))
            self.folder.say(self.source, place, f"the expression gives a {expression.kind}, but a {wanted} is needed")
        if expression.uses_rows and not over_rows:
            self.folder.say(self.source, place, "functions over rows belong in the summary or in a check")
        return expression

    def _hint(self, problem: str, place: Place) -> str:
        """Why a name that exists may not be used here."""
        named = next((n for n in (ARM_FACT, *self.facts, *self.rows) if problem.startswith(f"'{n}' is neither")), "")
        if named == ARM_FACT:
            return f" ('{ARM_FACT}' may be used only in a form with 'restricted: true')"
        if named and place == ("restricted_when",):
            return " ('restricted_when' reads the answers of its own row only)"
        if named in self.telling:
            return " (it is restricted: only a restricted form or item may name it, unless it is marked 'unblinds: false')"
        if named and place[0] == "summary":
            return " (a summary reads items of the rows by functions over rows, such as sum_rows)"
        return ""

    def _check(self, place: Place, raw: Mapping[str, Any]) -> Check | None:
        known = {**self.rows, **self.summary}
        for i, name in enumerate(raw["items"]):
            if name not in known and name not in self.folder.unsure:
                message = f"check {raw['id']} names '{name}', which is not an item of form {self.form.code}"
                self.folder.say(self.source, (*place, "items", i), message)
        self._deviation(place, raw.get("deviation"))
        if "deviation_class" in raw and "deviation" not in raw:
            self.folder.say(self.source, (*place, "class"), "'class' belongs to a check that opens a deviation: give 'deviation'")
        names = {**self.facts, **known}
        closed = self.form.restricted or self.telling.issuperset(raw["items"])
        when = self._expression((*place, "when"), raw["when"], names, {"truth"}, over_rows=self.form.repeating, closed=closed)
        if when is None:
            return None
        return Check(
            raw["id"],
            raw["severity"],
            when,
            tuple(raw["items"]),
            raw["message"],
            tuple(raw["notify"]),
            raw.get("deviation"),
            raw.get("rule", ""),
            raw.get("deviation_class", 1),
        )

    def _deviation(self, place: Place, deviation: int | None) -> None:
        types = self.codelists.get("CL_DEVTYPE")
        known = types.labels if types else ()
        if deviation is not None and deviation not in known and self.folder.codelists.data is not None:
            self.folder.say(self.source, (*place, "deviation"), f"{deviation} is not a type of deviation in CL_DEVTYPE")


def _item_place(raw: Mapping[str, Any], name: str) -> Place:
    for part in ("items", "summary"):
        for i, item in enumerate(raw[part]):
            if item.get("name") == name:
                return (part, i)
    return ()


def _order(raw_forms: list[tuple[Source, dict[str, Any]]], top: Mapping[str, Any]) -> list[str]:
    """Forms in the order in which they are first met in the schedule, event forms last."""
    numbers = {visit["code"]: visit["number"] for visit in top["visits"]}
    first = {raw["form"]: min((numbers.get(v, 999) for v in raw["visits"]), default=999) for _, raw in raw_forms}
    return sorted(first, key=lambda code: first[code])


def _item_problems(item: Item, raw: Mapping[str, Any], factors: set[str]) -> Iterable[str]:
    """What does not fit together within one item."""
    given = set(raw)
    if item.type == "calc":
        if not {"value", "result"} <= given:
            yield "a calculated item needs 'value' and 'result'"
    elif {"value", "result"} & given:
        yield "only a calculated item (type calc) has 'value' and 'result'"
    if item.holds in ("code", "multi") and not item.source and not {"codelist", "codes"} & given:
        yield "its choices are missing: give 'codelist' or 'codes'"
    if len({"codelist", "codes", "source"} & given) > 1:
        yield "give one of 'codelist', 'codes' and 'source'"
    if item.holds not in ("code", "multi") and {"codelist", "codes", "source"} & given:
        yield f"a {item.holds} takes no choices"
    if item.holds == "multi" and item.source:
        yield "a multiple choice needs choices that do not change: give 'codelist' or 'codes'"
    if item.holds not in ("int", "dec") and {"min", "max", "soft_min", "soft_max", "unit"} & given:
        yield f"limits and units belong to numbers, not to a {item.holds}"
    if item.holds != "text" and ({"length", "lines"} & given or item.scan):
        yield "'length', 'lines' and 'scan' belong to text"
    if item.holds != "dec" and "decimals" in given:
        yield "'decimals' belongs to a dec"
    pairs: list[tuple[str, Decimal | None, str, Decimal | None, Callable[[Decimal, Decimal], bool]]] = [
        ("min", item.minimum, "max", item.maximum, lambda a, b: a > b),
        ("soft_min", item.soft_minimum, "soft_max", item.soft_maximum, lambda a, b: a > b),
        ("soft_min", item.soft_minimum, "min", item.minimum, lambda a, b: a < b),
        ("soft_max", item.soft_maximum, "max", item.maximum, lambda a, b: a > b),
    ]
    for first, a, second, b, wrong in pairs:
        if a is not None and b is not None and wrong(a, b):
            yield f"'{first}' {a} does not go with '{second}' {b}"
    if item.system and item.system not in schemas.SYSTEM and item.system.removeprefix("factor.") not in factors:
        yield f"'{item.system}' is not filled by the system"
    if item.type not in (*values.TYPES, "calc"):
        yield f"there is no type '{item.type}'"

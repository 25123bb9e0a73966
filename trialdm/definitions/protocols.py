"""A folder of protocol files to one `Protocol`, or every problem in it at once.

`load_protocol` takes the texts of the files (so that a definition can be kept in the database and read again) and reports
problems that only show across places: names that do not exist, circles of calculations, expressions of the wrong kind,
export names that a statistics package could not take, allocation schemes that cannot work.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from typing import Any

from trialdm.definitions import schemas
from trialdm.definitions.sources import BadDefinition, Place, Problem, Source, check, read
from trialdm.domain import naming, values
from trialdm.domain.crf import Check, Code, Codelist, Form, Item, in_order_of_need
from trialdm.domain.expressions import KINDS, Expression, ExpressionError, Name, parse
from trialdm.domain.protocol import (
    ARM_FACT,
    BUILT_IN_FACTS,
    Arm,
    Fact,
    Factor,
    Instrument,
    Parameter,
    Protocol,
    Scheme,
    Site,
    Visit,
)
from trialdm.domain.randomisation.schemes import DERIVED, RESERVED_LABELS

#: The kind of the result that each type of a calculated item may come from.
_RESULT_KINDS = {**{t: {k} for t, k in KINDS.items()}, "yn": {"number", "truth"}}

_MOST_LEVELS = 200


@dataclass
class _Folder:
    """The files of one protocol while they are being read, and the problems found so far.

    `broken` holds the codes of forms whose file does not fit, so that nobody is told that these do not exist.
    """

    protocol: Source
    codelists: Source
    forms: list[Source]
    problems: list[Problem] = field(default_factory=list)
    broken: set[str] = field(default_factory=set)

    def say(self, source: Source, place: Place, message: str) -> None:
        self.problems.append(source.problem(place, message))

    def no_form(self, source: Source, place: Place, code: str) -> None:
        if code not in self.broken:
            self.say(source, place, f"there is no form '{code}'")


def load_protocol(texts: Mapping[str, str]) -> Protocol:
    """The protocol that the files define. Raises BadDefinition with every problem.

    `texts` maps a path below the protocols folder (`pre-tmr/protocol.yaml`, `pre-tmr/codelists.yaml`,
    `pre-tmr/forms/pain.yaml`) to the text of the file.
    """
    folder = _open(texts)
    top, found = check(folder.protocol, schemas.ProtocolSchema())
    folder.problems += found
    codelists = _codelists(folder)
    raw_forms = []
    for source in folder.forms:
        data, found = check(source, schemas.FormSchema())
        folder.problems += found
        if data:
            raw_forms.append((source, data))
        elif isinstance(source.data, dict):
            folder.broken.add(str(source.data.get("form")))
    if not top:
        raise BadDefinition(folder.problems)
    protocol = _build(folder, top, codelists, raw_forms)
    if folder.problems:
        raise BadDefinition(folder.problems)
    return protocol


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
        if not path.startswith(f"{root}forms/") and path.removeprefix(root) not in (
            "protocol.yaml",
            "codelists.yaml",
            "source.yaml",
        ):
            problems.append(
                Problem(path, 1, "this file has no place in a protocol: protocol.yaml, codelists.yaml, source.yaml, forms/*.yaml")
            )
    if not forms:
        problems.append(Problem(top, 1, "the protocol has no form: put one file for each into forms/"))
    return _Folder(sources[top], codelists, forms, problems)


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


class _CodelistSchema(schemas.Schema):
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
    expected = source.file.split("/")[-2] if "/" in source.file else trial["id"]
    if trial["id"] != expected:
        folder.say(source, ("trial", "id"), f"the trial is '{trial['id']}', but its folder is '{expected}': they must agree")
    _unique(folder, source, "arms", top["arms"], "code", "arm")
    _unique(folder, source, "arms", top["arms"], "name", "arm")
    _unique(folder, source, "sites", top["sites"], "code", "site")
    _unique(folder, source, "visits", top["visits"], "code", "visit")
    _unique(folder, source, "visits", top["visits"], "number", "visit number")
    _unique(folder, source, "context", top["context"], "name", "context fact")
    visits = tuple(Visit(**visit) for visit in top["visits"])
    forms = _Forms(folder, top, codelists, {v.code for v in visits}).build(raw_forms)
    by_code = {form.code: form for form in forms}
    facts = tuple(Fact(**fact) for fact in top["context"])
    _places(folder, top, visits, by_code)
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
        visits=tuple(sorted(visits, key=lambda visit: visit.number)),
        forms=tuple(forms),
        codelists=codelists,
        scheme=_Allocation(folder, top, by_code, {v.code for v in visits}).build(),
        context=facts,
        params={name: Parameter(name, p["value"], p.get("source", "")) for name, p in top["params"].items()},
        instruments=tuple(Instrument(**instrument) for instrument in top["instruments"]),
        guidance=trial.get("guidance", {}),
    )


def _places(folder: _Folder, top: Mapping[str, Any], visits: tuple[Visit, ...], forms: Mapping[str, Form]) -> None:
    """Context facts, anchors and instruments name what exists."""
    source = folder.protocol
    facts = {fact["name"]: fact for fact in top["context"]}
    codes = {visit.code for visit in visits}
    for i, fact in enumerate(top["context"]):
        place = ("context", i)
        if fact["name"] in BUILT_IN_FACTS or fact["name"] == ARM_FACT:
            folder.say(source, (*place, "name"), f"'{fact['name']}' is built in and cannot be declared")
        form = forms.get(fact["form"])
        if form is None:
            folder.no_form(source, (*place, "form"), fact["form"])
        elif fact["item"] not in form.by_name:
            folder.say(source, (*place, "item"), f"form {form.code} has no item '{fact['item']}'")
        elif form.repeating:
            folder.say(source, (*place, "form"), f"form {form.code} is repeating: a fact needs a form that is filled once")
        if fact["visit"] not in codes:
            folder.say(source, (*place, "visit"), f"there is no visit '{fact['visit']}'")
        elif form is not None and fact["visit"] not in form.visits:
            folder.say(source, (*place, "visit"), f"form {form.code} is not filled at visit {fact['visit']}")
    for i, visit in enumerate(top["visits"]):
        for key in ("anchor", "fallback"):
            named = visit.get(key)
            if named and named not in facts and BUILT_IN_FACTS.get(named) != "date":
                folder.say(source, ("visits", i, key), f"'{named}' is not a declared context fact")
        if visit["kind"] == "scheduled" and (not visit.get("anchor") or visit.get("target") is None):
            folder.say(source, ("visits", i), f"visit {visit['code']} is scheduled: it needs an anchor and a target day")
    for i, instrument in enumerate(top["instruments"]):
        if instrument["form"] not in forms:
            folder.no_form(source, ("instruments", i, "form"), instrument["form"])


class _Forms:
    """Builds the forms: first their items without expressions, then the expressions that may name any of them."""

    def __init__(self, folder: _Folder, top: Mapping[str, Any], codelists: Mapping[str, Codelist], visits: set[str]) -> None:
        self.folder, self.top, self.codelists, self.visits = folder, top, codelists, visits
        self.params = {name: p["value"] for name, p in top["params"].items()}
        self.tables = {name: self._table(name, table) for name, table in top["tables"].items()}
        self.factors = {factor["name"] for factor in top["allocation"]["factors"]}
        self.unsure: set[str] = set()

    def _table(self, name: str, table: Mapping[str, Any]) -> dict[Decimal, Decimal]:
        rows: dict[Decimal, Decimal] = {}
        for key, raw in table["values"].items():
            try:
                rows[key] = Decimal(raw) if isinstance(raw, str | int | Decimal) else Decimal("nan")
                if not rows[key].is_finite():
                    raise InvalidOperation
            except InvalidOperation:
                self.folder.say(self.folder.protocol, ("tables", name, "values", key), f"'{raw}' is not a number in quotes")
        return rows

    def build(self, raw_forms: list[tuple[Source, dict[str, Any]]]) -> list[Form]:
        self._names_unique(raw_forms)
        plain = [(source, raw, self._plain(source, raw)) for source, raw in raw_forms]
        facts = self._facts({form.code: form for _, _, form in plain})
        built = [self._with_expressions(source, raw, form, facts) for source, raw, form in plain]
        sources = {form.code: (source, raw) for source, raw, form in plain}
        for code, item, message in naming.problems(built):
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
            if code.lower() != source.file.rpartition("/")[2].removesuffix(".yaml"):
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
        return Form(
            code=raw["form"],
            title=raw["title"],
            kind=raw["kind"],
            items=tuple(self._items(source, "items", raw["items"])),
            summary=tuple(self._items(source, "summary", raw["summary"])),
            visits=raw["visits"],
            repeating=raw["repeating"],
            restricted=raw["restricted"],
            instrument=raw.get("instrument", ""),
            introduction=raw.get("introduction", ""),
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
                continue
            yield self._item(source, (part, i), raw, section)

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
            codelist=self._choices(source, place, raw),
            source=raw.get("source", ""),
            required=raw["required"],
            result=raw.get("result", ""),
            restricted=raw["restricted"],
            exported=raw["export"],
            scan=raw["scan"],
            system=raw.get("system", ""),
            means=raw.get("means", ""),
            passes=raw.get("passes"),
        )
        for message in _item_problems(item, raw, self.factors):
            self.folder.say(source, place, f"item '{item.name}': {message}")
        return item

    def _choices(self, source: Source, place: Place, raw: Mapping[str, Any]) -> Codelist | None:
        if "codes" in raw:
            codelist = _codes(raw["codes"], raw["name"].upper())
            _labels_differ(self.folder, source, (*place, "codes"), codelist)
            return codelist
        name = raw.get("codelist")
        if name and name not in self.codelists:
            self.folder.say(source, (*place, "codelist"), f"there is no codelist '{name}'")
        return self.codelists.get(name) if name else None

    def _facts(self, forms: Mapping[str, Form]) -> dict[str, Name]:
        facts = {name: Name(KINDS[type_name]) for name, type_name in BUILT_IN_FACTS.items()}
        for fact in self.top["context"]:
            item = forms[fact["form"]].by_name.get(fact["item"]) if fact["form"] in forms else None
            if item is not None:
                facts[fact["name"]] = _as_name(item)
        self.unsure = {fact["name"] for fact in self.top["context"] if fact["form"] in self.folder.broken}
        return facts

    def _with_expressions(self, source: Source, raw: Mapping[str, Any], form: Form, facts: Mapping[str, Name]) -> Form:
        names = {**facts, **{item.name: _as_name(item) for item in form.items}}
        if form.restricted:
            arms = frozenset(arm["code"] for arm in self.top["arms"])
            names[ARM_FACT] = Name("number", arms)
        summaries = {**names, **{item.name: _as_name(item) for item in form.summary}}
        items = self._expressions_of(source, raw, "items", form.items, names, rows=False)
        summary = self._expressions_of(source, raw, "summary", form.summary, summaries, rows=True)
        restricted_when = self._expression(source, ("restricted_when",), raw.get("restricted_when"), names, {"truth"}, rows=False)
        checks = [self._check(source, ("checks", i), one, form, summaries) for i, one in enumerate(raw["checks"])]
        return replace(
            form, items=items, summary=summary, restricted_when=restricted_when, checks=tuple(c for c in checks if c is not None)
        )

    def _expressions_of(
        self, source: Source, raw: Mapping[str, Any], part: str, items: tuple[Item, ...], names: Mapping[str, Name], *, rows: bool
    ) -> tuple[Item, ...]:
        built = []
        for item in items:
            place = _item_place({"items": (), "summary": (), part: raw[part]}, item.name)
            given = raw[part][place[1]] if len(place) > 1 and isinstance(place[1], int) else {}
            show_if = self._expression(source, (*place, "show_if"), given.get("show_if"), names, {"truth"}, rows=rows)
            kinds = _RESULT_KINDS.get(item.result, set())
            value = self._expression(source, (*place, "value"), given.get("value"), names, kinds, rows=rows)
            built.append(replace(item, show_if=show_if, value=value))
        try:
            in_order_of_need(built)
        except ValueError as circle:
            first = str(circle).split(" -> ")[0]
            self.folder.say(source, _item_place(raw, first), f"the calculations go in a circle: {circle}")
        return tuple(built)

    def _expression(
        self, source: Source, place: Place, text: str | None, names: Mapping[str, Name], kinds: set[str], *, rows: bool
    ) -> Expression | None:
        if text is None:
            return None
        try:
            expression = parse(text, names, tables=self.tables, params=self.params)
        except ExpressionError as problem:
            if any(f"'{name}'" in str(problem) for name in self.unsure):
                return None
            hint = ""
            if ARM_FACT in text and ARM_FACT not in names:
                hint = f" ('{ARM_FACT}' may be used only in a form with 'restricted: true')"
            self.folder.say(source, place, f"{problem}{hint}")
            return None
        if kinds and expression.kind not in kinds:
            self.folder.say(source, place, f"the expression gives a {expression.kind}, but a {' or '.join(sorted(kinds))} is needed")
        if expression.uses_rows and not rows:
            self.folder.say(source, place, "functions over rows belong in the summary or in a check")
        return expression

    def _check(self, source: Source, place: Place, raw: Mapping[str, Any], form: Form, names: Mapping[str, Name]) -> Check | None:
        known = {*form.by_name, *(item.name for item in form.summary)}
        for i, name in enumerate(raw["items"]):
            if name not in known:
                self.folder.say(source, (*place, "items", i), f"check {raw['id']} names '{name}', which is not an item of form {form.code}")
        deviations = self.codelists.get("CL_DEVTYPE")
        if raw.get("deviation") is not None and (deviations is None or raw["deviation"] not in deviations.labels):
            self.folder.say(source, (*place, "deviation"), f"{raw['deviation']} is not a type of deviation in CL_DEVTYPE")
        when = self._expression(source, (*place, "when"), raw["when"], names, {"truth"}, rows=form.repeating)
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
        )


def _as_name(item: Item) -> Name:
    codes = frozenset(item.codelist.labels) if item.codelist and item.holds == "code" else None
    return Name(KINDS.get(item.holds, "text"), frozenset({0, 1}) if item.holds == "yn" else codes)


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


class _Allocation:
    """Builds the scheme and refuses what could not work or is not defined."""

    #: What each method needs and may have.
    NEEDS = {"simple": (), "pbr": ("sizes",), "minimisation": ("imbalance", "p"), "list": ()}
    MAY = {"simple": (), "pbr": ("size_weights",), "minimisation": ("burn_in",), "list": ()}

    def __init__(self, folder: _Folder, top: Mapping[str, Any], forms: Mapping[str, Form], visits: set[str]) -> None:
        self.folder, self.top, self.forms, self.visits = folder, top, forms, visits
        self.raw = top["allocation"]
        self.shares = sum(arm["ratio"] for arm in top["arms"])

    def _say(self, place: Place, message: str) -> None:
        self.folder.say(self.folder.protocol, ("allocation", *place), message)

    def build(self) -> Scheme:
        method = self.raw["method"]
        for key in self.NEEDS[method]:
            if key not in self.raw:
                self._say((), f"method {method} needs '{key}'")
        for key in ("imbalance", "p", "burn_in", "sizes", "size_weights"):
            if key in self.raw and key not in (*self.NEEDS[method], *self.MAY[method]):
                self._say((key,), f"'{key}' has no meaning for method {method}")
        self._parameters()
        if method == "minimisation" and not self.raw["factors"]:
            self._say((), "minimisation needs at least one factor")
        if method not in DERIVED and method != "list":
            self._say(("method",), f"method '{method}' is not known")
        factors = [self._factor(i, raw) for i, raw in enumerate(self.raw["factors"])]
        names = [factor.name for factor in factors]
        for name in {n for n in names if names.count(n) > 1}:
            self._say(("factors",), f"factor '{name}' is given twice")
        if "baseline" in self.raw and self.raw["baseline"] not in self.visits:
            self._say(("baseline",), f"there is no visit '{self.raw['baseline']}'")
        keys = ("imbalance", "p", "burn_in", "sizes", "size_weights")
        parameters = {key: self.raw[key] for key in keys if key in self.raw}
        return Scheme(self.raw["scheme"], method, tuple(factors), parameters, self.raw.get("baseline", ""))

    def _parameters(self) -> None:
        if "p" in self.raw:
            try:
                p = Fraction(self.raw["p"])
                if "." in self.raw["p"] or not Fraction(1, self.shares) < p <= 1:
                    self._say(("p",), f'p must be a fraction above 1/{self.shares} and at most 1, such as "4/5"')
            except (ValueError, ZeroDivisionError):
                self._say(("p",), 'p must be a fraction in quotes, such as "4/5"')
        for i, size in enumerate(self.raw.get("sizes", [])):
            if size % self.shares:
                self._say(("sizes", i), f"block size {size} is not a multiple of {self.shares}, the sum of the ratios")
        weights = self.raw.get("size_weights")
        if weights and len(weights) != len(self.raw.get("sizes", [])):
            self._say(("size_weights",), "give one weight for each block size")

    def _factor(self, i: int, raw: Mapping[str, Any]) -> Factor:
        place = ("factors", i)
        if raw["name"] == "site":
            levels = tuple(site["code"] for site in self.top["sites"])
            if {"form", "item", "visit"} & set(raw):
                self._say(place, "the factor 'site' is built in and takes no form")
            return Factor("site", levels, raw["weight"])
        absent = [key for key in ("form", "visit", "item") if key not in raw]
        if absent:
            self._say(place, f"factor '{raw['name']}' needs '{absent[0]}'")
            return Factor(raw["name"], (), raw["weight"])
        levels = self._levels(place, raw)
        for level in levels:
            if level in RESERVED_LABELS:
                self._say(place, f"the level '{level}' has a reserved name")
        return Factor(raw["name"], levels, raw["weight"], raw["form"], raw["visit"], raw["item"])

    def _levels(self, place: Place, raw: Mapping[str, Any]) -> tuple[str, ...]:
        form = self.forms.get(raw["form"])
        item = form.by_name.get(raw["item"]) if form else None
        if form is None or item is None:
            if raw["form"] not in self.folder.broken:
                self._say(place, f"factor '{raw['name']}': there is no item '{raw['item']}' in form '{raw['form']}'")
            return ()
        if raw["visit"] not in form.visits:
            self._say((*place, "visit"), f"form {form.code} is not filled at visit '{raw['visit']}'")
        if form.repeating or item.holds not in ("code", "yn") or item.source:
            self._say(place, f"factor '{raw['name']}' must be a yes/no or coded item of a form that is filled once")
            return ()
        codes = (0, 1) if item.holds == "yn" else tuple(item.codelist.labels) if item.codelist else ()
        if len(codes) > _MOST_LEVELS:
            self._say(place, f"factor '{raw['name']}' has {len(codes)} levels; at most {_MOST_LEVELS} make sense")
        return tuple(str(code) for code in codes)

"""Rehearsals: the scheme as it is configured, and others beside it, on thousands of simulated trials before anybody is allocated.

Results and settings are for roles that rehearse or sign, never for somebody who recruits (`schemes.may_see_specification`).
No participant and no key is read: what is simulated is the rule.
"""

import json
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import defer

from trialdm.definitions import rehearsals as files
from trialdm.definitions.rehearsals import Assumptions
from trialdm.definitions.sources import BadDefinition
from trialdm.domain.errors import Conflict, Detail, Forbidden, Invalid, Missing, WrongState
from trialdm.domain.protocol import Protocol
from trialdm.domain.protocol import Scheme as Definition
from trialdm.domain.randomisation.schemes import PARAMETERS
from trialdm.rehearsal.methods import strata_factors
from trialdm.rehearsal.recruits import SITE, Recruitment
from trialdm.rehearsal.simulate import MOST_SCHEMES, Rehearsal, Tell, compare, name_of, sha256
from trialdm.services import casebooks, schemes, studies
from trialdm.services.unit import Change, Unit
from trialdm.store.tables import ListSlot, RehearsalJob

MOST_TRIALS = 100_000
MOST_PARTICIPANTS = 10_000

#: Simulated participants of all schemes together in one rehearsal: half a minute to two minutes of one processor.
_MOST_PLACES = 50_000_000

#: A run of the maximal procedure needs a table of this many places times tolerances; a larger one takes minutes.
_LARGEST_TABLE = 20_000

_LISTED = 50


@dataclass(frozen=True)
class Asked:
    """What somebody wants to see. `against` and `assume` are files, each as its name and its text (see `definitions.rehearsals`).

    `participants` None means the trial's target. Without `own` only the schemes of `against` are rehearsed.
    """

    trials: int = 1000
    participants: int | None = None
    seed: int = 1
    scheme: str = ""
    own: bool = True
    against: tuple[tuple[str, str], ...] = ()
    assume: tuple[str, str] | None = None


@dataclass(frozen=True)
class Plan:
    """A rehearsal with everything that its figures depend on: the same plan gives the same figures."""

    configs: tuple[Mapping[str, Any], ...]
    recruitment: Recruitment
    trials: int
    participants: int
    seed: int
    slots: int | None = None

    @property
    def names(self) -> list[str]:
        return [name_of(config) for config in self.configs]

    def to_json(self) -> dict[str, Any]:
        """Plain data; the order of sites, factors and levels is part of it."""
        return {**vars(self), "recruitment": {"sites": self.recruitment.sites, "factors": self.recruitment.factors}}


def plan_of(row: RehearsalJob) -> Plan:
    """The plan of a stored request."""
    raw = json.loads(row.request)
    return Plan(**{**raw, "configs": tuple(raw["configs"]), "recruitment": Recruitment(**raw["recruitment"])})


# --- what is rehearsed -----------------------------------------------------------------------------------------------


def configuration(unit: Unit, trial: str, name: str = "", **changes: Any) -> dict[str, Any]:
    """The configuration of a scheme: the one that was committed to, else the protocol's; with changes of parameters."""
    protocol = studies.protocol(unit, trial)
    row = schemes.newest(unit, protocol, name)
    found = schemes.config(row) if row is not None else schemes.config_of(protocol, protocol.scheme_named(name))
    return {**found, **changes}


def recruitment(protocol: Protocol, definition: Definition, assumed: Assumptions | None = None) -> Recruitment:
    """Who is recruited: sites by their targets, the levels of a factor equally, unless assumptions say otherwise.

    A site without a target counts as an average one. Where sites are allocated, the levels are those that they have.
    """
    given = assumed or Assumptions()
    factors = {
        factor.name: given.factors.get(factor.name) or _levels(protocol, definition, factor.name, factor.levels)
        for factor in definition.factors
        if factor.name != SITE
    }
    if definition.unit == "site":
        return Recruitment({}, factors)
    return Recruitment(given.sites or _targets(protocol), factors)


def _targets(protocol: Protocol) -> dict[str, float]:
    known = [site.target for site in protocol.sites if site.target]
    average = sum(known) / len(known) if known else 1.0
    return {site.code: float(site.target or average) for site in protocol.sites}


def _levels(protocol: Protocol, definition: Definition, name: str, levels: Sequence[str]) -> dict[str, float]:
    if definition.unit != "site":
        return dict.fromkeys(levels, 1.0)
    seen = Counter(site.attributes.get(name, "") for site in protocol.sites)
    return {level: float(seen[level]) for level in levels}


def plan(unit: Unit, trial: str, asked: Asked) -> Plan:
    """What is asked, checked and made complete. Raises Invalid naming every place that does not fit."""
    protocol = studies.protocol(unit, trial)
    unit.require("rehearsal.run", trial)
    require_sight(unit, trial)
    definition = protocol.scheme_named(asked.scheme)
    configs, assumed = _read(unit, protocol, definition, asked)
    target = protocol.target_participants if definition.unit == "participant" else len(protocol.sites)
    found = Plan(
        tuple(configs),
        recruitment(protocol, definition, assumed),
        asked.trials,
        target if asked.participants is None else asked.participants,
        asked.seed,
        assumed.slots if assumed and assumed.slots is not None else _slots(unit, protocol, definition, configs),
    )
    _check(found)
    return found


def _read(unit: Unit, protocol: Protocol, definition: Definition, asked: Asked) -> tuple[list[dict[str, Any]], Assumptions | None]:
    """The configurations side by side, and the assumptions; every problem of all files is said at once."""
    own = asked.own and definition.method != "list"
    configs, assumed, problems = [configuration(unit, protocol.id, definition.name)] if own else [], None, []
    for file, text in asked.against:
        try:
            configs += [schemes.config_of(protocol, variant) for variant in files.variants(file, text, protocol, definition)]
        except BadDefinition as bad:
            problems += bad.problems
    if asked.assume:
        try:
            assumed = files.assumptions(*asked.assume, protocol, definition)
        except BadDefinition as bad:
            problems += bad.problems
    if problems:
        raise BadDefinition(problems)
    if not configs and definition.method == "list":
        raise Invalid(
            f"The scheme '{definition.name}' takes its allocation from a list made elsewhere: there is no rule to rehearse.",
            code="REHEARSAL.LIST",
            needs="Another scheme, such as blocks on the same factors: it shows how often the list would run out.",
        )
    return configs, assumed


def _slots(unit: Unit, protocol: Protocol, definition: Definition, configs: Sequence[Mapping[str, Any]]) -> int | None:
    """Places of the imported list in its shortest stratum, where every scheme fills the same strata."""
    row = schemes.newest(unit, protocol, definition.name)
    names = {factor.name for factor in definition.factors}
    if row is None or definition.method != "list" or any(set(strata_factors(config)) != names for config in configs):
        return None
    counted = (
        select(func.count())
        .where(ListSlot.trial_id == protocol.id, ListSlot.scheme == row.name, ListSlot.epoch == row.epoch)
        .group_by(ListSlot.stratum)
    )
    return min(unit.session.scalars(counted), default=None)


def _check(found: Plan) -> None:
    """Raises Invalid for what cannot be rehearsed, or would take too long."""
    details = [
        Detail("REHEARSAL.LIMIT", f"{what} must be a whole number from {least} to {most:,}", place)
        for place, what, value, least, most in (
            ("trials", "The number of trials", found.trials, 1, MOST_TRIALS),
            ("participants", "The number of participants", found.participants, 1, MOST_PARTICIPANTS),
            ("seed", "The seed", found.seed, 0, 2**53),
        )
        if not least <= value <= most
    ]
    if not 1 <= len(found.configs) <= MOST_SCHEMES:
        message = f"From one to {MOST_SCHEMES} schemes stand side by side; these are {len(found.configs)}"
        details.append(Detail("REHEARSAL.SCHEMES", message, "schemes"))
    rules = [{**config, "epoch": 0} for config in found.configs]
    twice = [name for i, name in enumerate(found.names) if rules[i] in rules[:i]]
    details += [Detail("REHEARSAL.TWICE", f"The scheme '{name}' is given twice", "schemes") for name in twice]
    if not details and found.trials * found.participants * len(found.configs) > _MOST_PLACES:
        message = f"Trials times participants times schemes may be at most {_MOST_PLACES:,}"
        details.append(Detail("REHEARSAL.LIMIT", message, "trials"))
    details = details or list(_impossible(found))
    if details:
        raise Invalid("This cannot be rehearsed.", code="REHEARSAL.INVALID", details=details)


def _impossible(found: Plan) -> Iterator[Detail]:
    """What one simulated participant already shows, of each scheme and then of all together."""
    for config in found.configs:
        if config["method"] == "maximal" and config["n"] * config["mti"] > _LARGEST_TABLE:
            yield Detail("REHEARSAL.LIMIT", f"maximal: n times mti may be at most {_LARGEST_TABLE:,} in a rehearsal", "schemes")
            return
    for configs in (*((config,) for config in found.configs), found.configs):
        try:
            compare(configs, found.recruitment, trials=1, participants=1, seed=0)
        except ValueError as problem:
            yield Detail("REHEARSAL.SCHEME", f"{', '.join(name_of(config) for config in configs)}: {problem}", "schemes")
            return


def run(found: Plan, tell: Tell | None = None) -> list[Rehearsal]:
    """The figures of each scheme, in the order of the plan. Reads nothing else."""
    made = compare(
        found.configs,
        found.recruitment,
        trials=found.trials,
        participants=found.participants,
        seed=found.seed,
        slots=found.slots,
        tell=tell,
    )
    return list(_told_apart(made))


def _told_apart(made: Sequence[Rehearsal]) -> Iterator[Rehearsal]:
    """Schemes of one name get the settings in which they differ."""
    for rehearsal in made:
        alike = [other.data["config"] for other in made if other.name == rehearsal.name]
        keys = [key for key in PARAMETERS if any(config.get(key) != alike[0].get(key) for config in alike)]
        more = [f"{key} {rehearsal.data['config'].get(key, 'none')}" for key in keys]
        yield Rehearsal({**rehearsal.data, "name": ", ".join([rehearsal.name, *more])})


def record(unit: Unit, trial: str, found: Plan, made: Sequence[Rehearsal]) -> None:
    """The audit entry of a rehearsal that was run at once. The hash could tell block sizes to whoever tries some."""
    unit.record("rehearsal.run", trial=trial, entity="rehearsal", entity_id=uuid.uuid4().hex, changes=[*_size(found), _hash(made)])


def _size(found: Plan) -> list[Change]:
    return [Change(key, None, getattr(found, key)) for key in ("trials", "participants", "seed")]


def _hash(made: Sequence[Rehearsal]) -> Change:
    return Change("sha256", None, sha256(made), stream="unblinded")


# --- in short --------------------------------------------------------------------------------------------------------

#: The measures by which schemes are compared first, in words, and where the figure is; shares are told in per cent.
_MEASURES: tuple[tuple[str, Callable[[Mapping[str, Any]], Any]], ...] = (
    ("Imbalance at the end: mean", lambda data: data["imbalance"]["overall"]["mean"]),
    ("Imbalance at the end: 95th percentile", lambda data: data["imbalance"]["overall"]["p95"]),
    ("Imbalance at the end: largest", lambda data: data["imbalance"]["overall"]["max"]),
    ("Largest imbalance on the way: mean", lambda data: data["imbalance"]["most_on_the_way"]["mean"]),
    ("Worst level of any factor: mean", lambda data: (data["imbalance"]["worst_level"] or {}).get("mean")),
    ("Worst site: mean", lambda data: data["imbalance"]["site"]["worst"]["mean"]),
    ("Right guesses, own site remembered", lambda data: data["guesses"]["site"]),
    ("Right guesses, whole trial remembered", lambda data: data["guesses"]["trial"]),
    ("Right guesses, full state known", lambda data: data["guesses"]["state"]),
    ("Allocations that are certain", lambda data: data["deterministic"]),
    ("Trials in which a list runs out", lambda data: (data["strata"]["list"] or {}).get("runs_out")),
)


def in_short(made: Sequence[Rehearsal]) -> list[tuple[str, list[str]]]:
    """The measures that matter most, each with the figure of every scheme; what no scheme has is left out."""
    rows = [(words, [measure(rehearsal.data) for rehearsal in made]) for words, measure in _MEASURES]
    return [(words, [_told(value) for value in values]) for words, values in rows if any(value is not None for value in values)]


def _told(value: Any) -> str:
    if value is None:
        return "–"
    return f"{100 * value['rate']:.1f} %" if isinstance(value, Mapping) else f"{value:.2f}".rstrip("0").rstrip(".")


# --- choices ---------------------------------------------------------------------------------------------------------


def alternatives(unit: Unit, trial: str, name: str = "") -> list[tuple[str, str]]:
    """Schemes that are often considered beside the own one: each as its name and its text."""
    protocol = studies.protocol(unit, trial)
    definition = protocol.scheme_named(name)
    own = configuration(unit, trial, name)
    found: dict[str, str] = {}
    for candidate in _candidates(definition):
        text = json.dumps(candidate)
        try:
            config = schemes.config_of(protocol, files.variants("", text, protocol, definition)[0])
        except BadDefinition:
            continue
        if {key: own.get(key) for key in config} != config:
            found.setdefault(name_of(config), text)
    return list(found.items())


def _candidates(definition: Definition) -> Iterator[dict[str, Any]]:
    shares = sum(arm.ratio for arm in definition.arms)
    names = [factor.name for factor in definition.factors]
    first = {"factors": [SITE if SITE in names else names[0]]} if names else {}
    if definition.method == "minimisation" and "p" in definition.parameters:
        for p in ("7/10", "3/4", "4/5", "9/10"):
            yield {"method": "minimisation", **definition.parameters, "p": p}
    yield {"method": "pbr", "sizes": [shares, 2 * shares, 3 * shares], **first}
    yield {"method": "bigstick", "mti": 3, **first}
    yield {"method": "blockurn", "lambda": 2, **first}
    yield {"method": "simple"}


# --- requested rehearsals --------------------------------------------------------------------------------------------


def ask_for(unit: Unit, trial: str, asked: Asked) -> RehearsalJob:
    """Note a rehearsal, to be run in the background, with everything that its figures depend on."""
    found = plan(unit, trial, asked)
    row = RehearsalJob(
        trial_id=trial,
        id=uuid.uuid4().hex,
        request=json.dumps(found.to_json(), ensure_ascii=False),
        state="waiting",
        done=0,
        total=found.trials * len(found.configs),
        message="",
        result="",
        requested_by=unit.actor.id,
        requested_at=unit.now,
        finished_at=None,
        signed_by="",
        signed_at=None,
    )
    unit.add(row)
    unit.record("rehearsal.ask", row, trial=trial, entity="rehearsal", entity_id=row.id, changes=_size(found))
    return row


def advance(unit: Unit, trial: str, ident: str, *, state: str, done: int = 0, message: str = "", made: Sequence[Rehearsal] = ()) -> None:
    """Note how far a rehearsal is, and at the end its figures."""
    row = unit.session.get(RehearsalJob, (trial, ident))
    if row is None:
        return
    row.state, row.done, row.message = state, done, message
    if state in ("done", "failed"):
        row.finished_at, row.result = unit.now, f"[{','.join(rehearsal.to_json() for rehearsal in made)}]"
        unit.record(f"rehearsal.{state}", row, trial=trial, entity="rehearsal", entity_id=ident, changes=[_hash(made)] if made else [])
    else:
        unit.covered(row)


def job(unit: Unit, trial: str, ident: str) -> RehearsalJob:
    """A requested rehearsal, for whoever may see specifications."""
    require_sight(unit, trial)
    row = unit.session.get(RehearsalJob, (trial, ident))
    if row is None:
        raise Missing("There is no such rehearsal.", code="REHEARSAL.UNKNOWN_JOB")
    return row


def jobs(unit: Unit, trial: str) -> list[RehearsalJob]:
    """The rehearsals of a trial, newest first, without their figures."""
    require_sight(unit, trial)
    wanted = (
        select(RehearsalJob)
        .where(RehearsalJob.trial_id == trial)
        .order_by(RehearsalJob.requested_at.desc(), RehearsalJob.id)
        .limit(_LISTED)
    )
    return list(unit.session.scalars(wanted.options(defer(RehearsalJob.result))))


def require_sight(unit: Unit, trial: str) -> None:
    studies.definition(unit, trial)
    if not schemes.may_see_specification(unit, trial):
        raise Forbidden(
            "The settings of the allocation, and what is simulated from them, are hidden from whoever recruits or works at a site: "
            "they would help to guess the next arm.",
            code="ROLE.SPECIFICATION",
            needs="A role that rehearses or signs (statistician, trial manager, chief investigator, sponsor), and none at a site.",
        )


def result(row: RehearsalJob) -> list[Rehearsal]:
    """The figures of a rehearsal that is done. Raises WrongState before."""
    if row.state != "done":
        raise WrongState("The rehearsal is not done.", code="REHEARSAL.NOT_DONE", needs="Open its page again in a while.")
    return [Rehearsal(data) for data in json.loads(row.result)]


def figures(row: RehearsalJob) -> str:
    """The figures as text, of which the SHA-256 is the one that is shown and signed."""
    texts = [rehearsal.to_json() for rehearsal in result(row)]
    return texts[0] if len(texts) == 1 else f"[{','.join(texts)}]"


def sign(unit: Unit, trial: str, ident: str, digest: str) -> RehearsalJob:
    """Sign a rehearsal as somebody who did not ask for it; `digest` is the SHA-256 of the figures that were read."""
    unit.require("rehearsal.sign", trial)
    row = job(unit, trial, ident)
    unit.session.refresh(row, with_for_update=True)
    if sha256(result(row)) != digest:
        raise Conflict(
            "These are not the figures that you read.", code="REHEARSAL.OTHER_FIGURES", needs="Open the rehearsal again and read it."
        )
    if row.requested_by == unit.actor.id:
        raise Forbidden(
            "Whoever asked for a rehearsal does not sign it as well.", code="REHEARSAL.OWN_SIGNATURE", needs="A second person signs."
        )
    if row.signed_by:
        raise Conflict("This rehearsal has been signed already.", code="REHEARSAL.SIGNED")
    row.signed_by, row.signed_at = unit.actor.id, unit.now
    signed = Change("signed_by", None, unit.actor.name)
    unit.record("rehearsal.sign", row, trial=trial, entity="rehearsal", entity_id=ident, changes=[signed, _hash(result(row))])
    return row


def people(unit: Unit, rows: Iterable[RehearsalJob]) -> dict[str, str]:
    """The names of whoever asked for these rehearsals or signed them."""
    return casebooks.names(unit, {ident for row in rows for ident in (row.requested_by, row.signed_by) if ident})

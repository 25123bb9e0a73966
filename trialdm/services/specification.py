"""The specification sheet of a scheme: what two people sign before it goes live, with the paragraphs that CONSORT asks for.

Written from the configuration that was committed to and from what people did, never typed. It shows block sizes and every
other setting, so nobody who recruits may read it (`schemes.may_see_specification`).
"""

import json
from collections.abc import Iterator
from datetime import datetime
from fractions import Fraction
from itertools import product
from typing import Any

from sqlalchemy import select

import trialdm
from trialdm.definitions.protocols import load_protocol
from trialdm.documents.page import Document, Facts, Rows, Section, Words
from trialdm.domain.errors import Forbidden, Missing
from trialdm.domain.lifecycle import label
from trialdm.domain.protocol import Protocol
from trialdm.domain.protocol import Scheme as Definition
from trialdm.domain.randomisation import vectors
from trialdm.domain.randomisation.commitment import Keys, canonical
from trialdm.domain.randomisation.schemes import METHODS
from trialdm.rehearsal.simulate import sha256
from trialdm.services import factors, rehearsals, schemes, studies
from trialdm.services.unit import LONDON, Unit
from trialdm.store.tables import Account, RehearsalJob, Scheme, SchemeAct

_IMBALANCE = {
    "range": "the range of the counts over the arms",
    "variance": "the variance of the counts over the arms",
    "sd": "the standard deviation of the counts over the arms",
    "marginal": "the marginal balance of the counts over the arms",
}


def sheet(unit: Unit, trial: str, *, name: str = "", epoch: int | None = None) -> Document:
    """The specification sheet of an epoch (the newest one). Raises Forbidden for people who recruit, and Missing before a commitment."""
    protocol = studies.protocol(unit, trial)
    if not schemes.may_see_specification(unit, trial):
        raise Forbidden(
            "The specification shows block sizes and probabilities: it is not for people who recruit.",
            code="ROLE.SPECIFICATION",
            needs="A role that signs the specification, and none by which somebody recruits.",
        )
    definition = protocol.scheme_named(name)
    rows = [row for row in schemes.standing(unit, trial, definition.name) if epoch is None or row.epoch == epoch]
    if not rows:
        raise Missing("The allocation has not been prepared.", code="ALLOC.NOT_PREPARED", needs="'allocation commit'.")
    return _document(unit, protocol, definition, rows[-1])


def _document(unit: Unit, protocol: Protocol, definition: Definition, row: Scheme) -> Document:
    config, done = schemes.config(row), schemes.acts(unit, row)
    protocol = _protocol_of(unit, protocol, row, done)
    names = {account.id: account.name for account in unit.session.scalars(select(Account))}
    return Document(
        f"{protocol.short_title}: specification of the allocation",
        f"Scheme {row.name}, epoch {row.epoch}, {label(schemes.state(unit, row))}. Protocol {protocol.version}, trialdm "
        f"{trialdm.__version__}. {'This is a test world: nothing in it is real.' if row.world == 'test' else ''}".strip(),
        (
            Section("Method", tuple(_method(protocol, definition, config))),
            Section("For the report (CONSORT 2025)", tuple(_consort(protocol, definition, row, config, done, names))),
            Section("Commitment", tuple(_commitment(row, config, done, names))),
            Section("Rehearsal", tuple(_rehearsed(unit, protocol, names))),
            Section("Test vectors", tuple(_vectors(config))),
        ),
        tuple(_signatures(row, done, names)),
    )


def _protocol_of(unit: Unit, protocol: Protocol, row: Scheme, done: list[SchemeAct]) -> Protocol:
    """The protocol that the epoch belongs to: the amended one while it waits for its signature."""
    if schemes.state(unit, row) not in schemes.PENDING:
        return protocol
    texts = next((json.loads(act.data)["texts"] for act in done if act.act == "amend"), None)
    return load_protocol(texts) if texts else protocol


# --- the method ------------------------------------------------------------------------------------------------------


def _method(protocol: Protocol, definition: Definition, config: dict[str, Any]) -> Iterator[Facts | Rows | Words]:
    arms = {arm.name: arm.label for arm in (*protocol.arms, *definition.arms)}
    yield Facts(
        (
            ("Title", protocol.title),
            ("Allocated", "each site" if definition.unit == "site" else "each participant"),
            ("Method", in_words(config)),
            *_parameters(config),
        )
    )
    yield Rows("Arms", ("Arm", "Name", "Share"), [(code, arms.get(code, code), str(ratio)) for code, ratio in config["arms"]])
    held = config.get("factors", [])
    if held:
        known = {factor.name: factor for factor in definition.factors}
        weighted = config["method"] == "minimisation"
        rows = []
        for factor in held:
            found = known.get(factor["name"])
            levels = [factors.level_label(protocol, found, level) if found else level for level in factor["levels"]]
            title = factors.label_of(protocol, found) if found else factor["name"]
            use = _use(factor, config) if weighted else "stratum"
            rows.append((factor["name"], title, ", ".join(levels), use))
        yield Rows("Factors", ("Factor", "Question", "Levels", "Use"), rows)


def _use(factor: dict[str, Any], config: dict[str, Any]) -> str:
    return "held constant: minimised within" if factor["name"] in config.get("strata", ()) else f"weight {factor['weight']}"


def in_words(config: dict[str, Any]) -> str:
    """The method and its parameters in a sentence, as a methods section would say it."""
    method = config["method"]
    name = METHODS[method].name
    match method:
        case "pbr":
            sizes = ", ".join(map(str, config["sizes"]))
            weights = config.get("size_weights")
            how = f", drawn with weights {', '.join(map(str, weights))}" if weights else ", drawn with equal chances"
            return f"{name} of size {sizes}{how if len(config['sizes']) > 1 else ''}"
        case "minimisation":
            return _minimised(config)
        case "efron":
            return f"{name} with probability {config['p']} for the arm that is behind"
        case "bigstick":
            return f"{name}: a fair coin until the arms differ by {config['mti']}"
        case "chen":
            return f"{name}: probability {config['p']} for the arm that is behind, certain where the arms differ by {config['mti']}"
        case "urn":
            return f"{name} UD({config['w']}, {config['alpha']}, {config['beta']})"
        case "blockurn":
            return f"{name} with lambda {config['lambda']}"
        case "maximal":
            return f"{name} in runs of {config['n']} with a maximum tolerated imbalance of {config['mti']}"
        case "list":
            return f"{name}: {config['slots']} places, SHA-256 {config['list_sha256']}"
    return name


def _minimised(config: dict[str, Any]) -> str:
    if "p_ranks" in config:
        chance = f"the arms ranked by it have the probabilities {', '.join(config['p_ranks'])}"
    else:
        chance = f"the arm that makes it smallest is given with probability {config['p']} ({float(Fraction(config['p'])):.2f})"
    on = ", ".join(factor["name"] for factor in config["factors"] if factor["name"] not in config.get("strata", ()))
    words = f"minimisation on {on} (Pocock and Simon 1975): of the weighted sum of {_IMBALANCE[config['imbalance']]}, {chance}"
    if config.get("overall"):
        words += f"; the balance of the arms in all counts with weight {config['overall']}"
    if config.get("strata"):
        words += f"; separately within each level of {', '.join(config['strata'])}"
    return words


def _parameters(config: dict[str, Any]) -> Iterator[tuple[str, str]]:
    if config["epoch"]:
        yield "Epoch", f"number {config['epoch']}; an amendment counts what came before and has no participants allocated simply first"
    if config.get("burn_in"):
        yield "First participants", f"the first {config['burn_in']} are allocated by simple randomisation"
    if config["method"] == "minimisation":
        corrected = config.get("counts") == "as_corrected"
        yield (
            "Corrections",
            "a factor that is corrected later, and an allocation in error, change the counts from then on"
            if corrected
            else "a factor that is corrected later, and an allocation in error, do not change the counts",
        )
    if any(ratio != 1 for _, ratio in config["arms"]) and config["method"] != "blockurn":
        yield "Unequal shares", "arms are expanded into equal fake arms (Kuznetsova and Tymofyeyev 2012, doi 10.1002/sim.4447)"


# --- CONSORT ---------------------------------------------------------------------------------------------------------


def _consort(
    protocol: Protocol, definition: Definition, row: Scheme, config: dict[str, Any], done: list[SchemeAct], names: dict[str, str]
) -> Iterator[Words]:
    act = {entry.act: entry for entry in done}
    ratio = ":".join(str(share) for _, share in config["arms"])
    unit = "Sites" if definition.unit == "site" else "Participants"
    listed = config["method"] == "list"
    checked = f", and was checked and signed by {names.get(act['sign'].by, '')}" if "sign" in act else ""
    made = (
        "The sequence was made outside the system and imported as a sealed list"
        if listed
        else f"No sequence was drawn up in advance: each allocation is computed by trialdm {trialdm.__version__} when it is made, from a "
        "256-bit secret drawn by the operating system's generator (allocation protocol v1)"
    )
    given = (
        f" {names.get(act['contribute'].by, '')} added an independent contribution after the commitment was published."
        if "contribute" in act
        else " Nobody added an independent contribution."
    )
    held = [factor["name"] for factor in config.get("factors", [])]
    by = f", stratified by {', '.join(held)}" if held and config["method"] not in ("minimisation", "simple") else ""
    yield Words(f"17a. {made}. The configuration was prepared by {names.get(row.created_by, '')}{checked}.{'' if listed else given}")
    yield Words(f"17b. {unit} were allocated {ratio} by {in_words(config)}{by}. These settings were not known to recruiting staff.")
    yield Words(
        "18. Allocation was by a central web service that gives one allocation only after consent, baseline and confirmed eligibility have "
        "been entered and cannot be taken back. "
        + (
            "The places of the list are encrypted one by one and opened one at a time."
            if listed
            else "Future allocations are stored nowhere; each is derived when it is made from a secret that is kept sealed."
        )
    )
    yield Words(
        "19. Neither those who enrolled participants nor those who assigned them had access to the sequence or to the state of the "
        "balance. Every allocation is an event in a chain of hashes whose head is signed daily; after the database is locked the secret "
        "is revealed and every allocation can be derived again."
    )


# --- commitment ------------------------------------------------------------------------------------------------------


def _commitment(row: Scheme, config: dict[str, Any], done: list[SchemeAct], names: dict[str, str]) -> Iterator[Facts | Words]:
    by_act = {entry.act: entry for entry in done}
    given = by_act.get("contribute")
    source = json.loads(given.data).get("source", "") if given else ""
    yield Facts(
        (
            ("Commitment", row.commit),
            ("Contribution", f"{row.contribution} ({names.get(given.by, '')}: {source})" if given else "none: nobody contributed"),
            ("Hash of the configuration", Keys(config, b"").config_hash.hex()),
            ("Hash of this specification", schemes.specification_hash(row)),
            ("Escrow", _custodians(done, names)),
        )
    )
    yield Words("The configuration, byte for byte as it was committed to:")
    yield Words(canonical(config).decode(), code=True)


def _custodians(done: list[SchemeAct], names: dict[str, str]) -> str:
    """Who holds the two shares of the master."""
    drawn = [(json.loads(act.data)["number"], act) for act in done if act.act == "escrow"]
    if not drawn or drawn[-1][0] != 2:
        return "not yet: two custodians draw a share each before the first participant"
    first, second = drawn[-2][1], drawn[-1][1]
    return f"two shares, with {names.get(first.by, '')} and {names.get(second.by, '')}"


def _rehearsed(unit: Unit, protocol: Protocol, names: dict[str, str]) -> Iterator[Rows | Words]:
    """Rehearsals that were signed: who asked, who signed, and the hash of the figures."""
    signed = unit.session.scalars(
        select(RehearsalJob).where(RehearsalJob.trial_id == protocol.id, RehearsalJob.signed_by != "").order_by(RehearsalJob.signed_at)
    ).all()
    rows = [(_when(row.requested_at), names.get(row.requested_by, ""), names.get(row.signed_by, ""), _figures(row)) for row in signed]
    if rows:
        yield Rows("Signed rehearsals", ("Asked for", "By", "Signed by", "SHA-256 of the figures"), rows)
    else:
        yield Words("No rehearsal of this scheme has been signed.")


def _figures(row: RehearsalJob) -> str:
    return sha256(rehearsals.result(row))


def _vectors(config: dict[str, Any]) -> Iterator[Rows | Words]:
    rows = [(what, expected, "same" if found == expected else f"DIFFERS: {found}") for what, expected, found in vectors.results()]
    yield Rows("Published vectors, computed again by this program", ("What", "Published", "Here"), rows)
    if config["method"] == "list":
        return
    keys = Keys(config, vectors.MASTER)
    levels = [list(found) for found in product(*(factor["levels"][:2] for factor in config.get("factors", [])))][:8]
    arms = vectors.allocated(keys, [levels[i % len(levels)] for i in range(24)])
    used = "; ".join("|".join(found) for found in levels if found)
    yield Words(
        "This configuration with the published test master 00 01 .. 1f and no contribution gives these 24 allocations, which a program of "
        f"your own can repeat{f' (levels in turn: {used})' if used else ''}:"
    )
    yield Words(" ".join(arms), code=True)


def _signatures(row: Scheme, done: list[SchemeAct], names: dict[str, str]) -> Iterator[str]:
    by_act = {entry.act: entry for entry in done}
    signed = by_act.get("sign")
    yield f"Prepared by: {names.get(row.created_by, '')}, {_when(row.created_at)}"
    yield f"Checked and signed by: {names.get(signed.by, '')}, {_when(signed.at)}" if signed else "Checked and signed by: not signed yet"


def _when(at: datetime) -> str:
    return f"{at.astimezone(LONDON):%d %B %Y, %H:%M}"

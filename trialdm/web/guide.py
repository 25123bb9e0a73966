"""The guide: pages for people, and reference pages made from the very tables that decide. It needs no signing in."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import yaml
from flask import Blueprint, abort, render_template
from marshmallow import Schema, fields, validate

from trialdm.definitions import schemas
from trialdm.documents import validation
from trialdm.domain import crf, ethics, expressions, flow, identity, lifecycle, recruitment, roles, schedule, screening, values
from trialdm.domain.ethics import reconsent, withdrawal
from trialdm.domain.randomisation.schemes import METHODS, PARAMETERS
from trialdm.services import delegations, identities, packages, passwords, sessions, tokens
from trialdm.services.unit import PROOF
from trialdm.web.charts import paths

pages = Blueprint("guide", __name__)

_HELP = Path(__file__).parent / "help"
_DECISIONS = _HELP / "decisions"

#: Page -> its title, in the order of the guide.
PAGES = {
    "start": "Start here",
    "participants": "Participants",
    "identities": "Identities",
    "visits": "Visits and the calendar",
    "forms": "Completing forms",
    "queries": "Queries and edit checks",
    "safety": "Safety",
    "randomising": "Randomising",
    "unblinding": "Unblinding and the day of surgery",
    "approvals": "Approvals and the gate",
    "accounts": "Accounts and signing in",
    "people": "Delegation, training, credentials",
    "treatment": "The treatment pathway",
    "exports": "Exports",
    "audit": "The audit trail",
    "rehearsals": "Rehearsing the allocation",
    "allocation": "Allocation for statisticians",
    "roles": "Roles",
    "states": "States",
    "protocol": "Writing a protocol",
    "expressions": "Expressions",
    "commands": "Commands",
    "errors": "Errors",
    "decisions": "Decisions",
    "validation": "Validation",
}


@pages.get("/help")
def start() -> str:
    """The first page of the guide."""
    return page("start")


@pages.get("/help/<name>")
def page(name: str) -> str:
    """One page of the guide."""
    if name not in PAGES:
        abort(404)
    return render_template(f"help/{name}.html", name=name, pages=PAGES, **_TABLES.get(name, dict)())


# --- tables ----------------------------------------------------------------------------------------------------------


def _of_forms() -> dict[str, Any]:
    return {"reasons": values.MISSING_REASONS}


def _of_participants() -> dict[str, Any]:
    kinds = list(crf.FORM_KINDS)
    codes = {level: sorted(code for code, of in withdrawal.LEVEL_OF.items() if of == level) for level in withdrawal.LEVELS}
    return {
        "levels": withdrawal.LEVELS,
        "codes": codes,
        "lost": withdrawal.LOST,
        "without": {level: [kind for kind in kinds if kind not in found.collects] for level, found in withdrawal.LEVELS.items()},
        "kinds": kinds,
        "outcomes": screening.OUTCOMES,
        "urgencies": reconsent.URGENCIES,
        "ratings": recruitment.RATINGS,
        "stands": flow.STANDS,
        "fates": flow.FATES,
    }


def _of_accounts() -> dict[str, Any]:
    return {
        "shortest": passwords.SHORTEST,
        "idle": int(sessions.IDLE.total_seconds()) // 60,
        "absolute": int(sessions.ABSOLUTE.total_seconds()) // 3600,
        "proof": int(PROOF.total_seconds()) // 60,
        "scopes": tokens.SCOPES,
    }


def _of_identities() -> dict[str, Any]:
    return {
        "limits": identities.LIMITS,
        "kinds": identity.KINDS,
        "open": int(identities.OPEN.total_seconds() // 60),
        "confirm": int(identities.CONFIRM.total_seconds() // 3600),
        "shown": int(identities.SHOWN.total_seconds() // 60),
        "holders": [(words, sorted(roles.ROLES[role][0] for role in roles.ACTIONS[action])) for action, words in _ABOUT_IDENTITIES.items()],
    }


#: What is done about identities, and in which words the guide says so.
_ABOUT_IDENTITIES = {
    "identity.enter": "Enter an identity",
    "identity.see": "Look at an identity, at the participant's own site",
    "identity.ask": "Ask to see one of another site",
    "identity.confirm": "Confirm or decline that, as the second person",
    "identity.shred": "Make an identity unreadable for good, two people",
    "identity.trail": "Read who looked at which identity",
}


def _of_approvals() -> dict[str, Any]:
    cases = yaml.safe_load((_HELP / "rules.yaml").read_text("utf-8"))
    return {
        "rules": ethics.RULES,
        "actions": ethics.ACTIONS,
        "packs": ethics.PACKS,
        "cases": {row["rule"]: row for row in cases},
        "parameters": ethics.PARAMETERS,
    }


def _of_people() -> dict[str, Any]:
    numbers = {name: ethics.PARAMETERS[name] for name in ("gcp_months", "gcp_policy", "protocol_training", "min_tmr_cases")}
    return {"tasks": roles.TASKS, "states": delegations.STATES, "trainings": ethics.TRAININGS, "numbers": numbers}


def _of_exports() -> dict[str, Any]:
    return {"formats": packages.FORMATS, "reasons": values.MISSING_REASONS}


#: Steps of the allocation, in the order in which they are taken.
_STEPS = {
    "rehearsal.run": "Rehearse the scheme",
    "rehearsal.sign": "Sign a rehearsal",
    "allocation.prepare": "Commit, import a list, amend, write the shares",
    "allocation.contribute": "Contribute",
    "allocation.sign": "Sign the specification as the second person",
    "allocation.move": "Pause, resume, close",
    "allocation.ledger": "Download the ledger",
    "allocation.balance": "Read the balance and fidelity report, which is by arm",
    "allocation.envelopes": "Make envelopes",
    "allocation.reconcile": "Enter envelopes that were opened or spoilt",
    "allocation.correct": "Mark an allocation as an error",
    "allocation.verify": "Verify the answers against the source",
    "allocation.reveal": "Reveal the master after database lock",
}


def _of_allocation() -> dict[str, Any]:
    described = schemas.AllocationSchema().fields
    return {
        "steps": _STEPS.items(),
        "actions": roles.ACTIONS,
        "roles": roles.ROLES,
        "methods": METHODS,
        "parameters": [(key, described[key].metadata.get("description", "")) for key in PARAMETERS],
    }


def _of_roles() -> dict[str, Any]:
    return {
        "roles": roles.ROLES,
        "unblinded": roles.UNBLINDED,
        "actions": roles.ACTIONS,
        "entry": roles.FORM_ENTRY,
        "tasks": roles.TASKS,
        "incompatible": roles.INCOMPATIBLE,
    }


def _of_states() -> dict[str, Any]:
    drawn = {name: paths(machine, lifecycle.INITIAL[name]) for name, machine in lifecycle.MACHINES.items()}
    return {"machines": lifecycle.MACHINES, "back": lifecycle.BACK, "drawn": drawn, "label": lifecycle.label}


def _of_protocol() -> dict[str, Any]:
    return {
        "files": [(title, list(_sections(schema))) for title, schema in _FILES.items()],
        "meanings": crf.MEANINGS,
        "kinds": crf.FORM_KINDS,
    }


_FILES: dict[str, type[Schema]] = {
    "protocol.yaml": schemas.ProtocolSchema,
    "forms/*.yaml": schemas.FormSchema,
    "derivations.yaml": schemas.DerivationsSchema,
    "approvals.yaml": schemas.ApprovalsSchema,
    "documents.yaml": schemas.DocumentsSchema,
    "people.yaml": schemas.PeopleSchema,
}


def _sections(schema: type[Schema], where: str = "") -> Iterator[tuple[str, list[tuple[str, str, bool, str]]]]:
    """A schema and those inside it: where it stands, and (key, type, required, meaning) of each entry."""
    found, rows = [], []
    for key, entry in schema().fields.items():
        rows.append((key, _type(entry), bool(entry.required), str(entry.metadata.get("description", ""))))
        inner = _inner(entry)
        if inner is not None:
            found.append((inner, f"{where}{key}" if not where else f"{where} › {key}"))
    yield where, rows
    for inner, place in found:
        yield from _sections(inner, place)


def _inner(entry: fields.Field[Any]) -> type[Schema] | None:
    match entry:
        case fields.Nested():
            return type(entry.schema)
        case fields.List():
            return _inner(entry.inner)
        case fields.Dict() if entry.value_field is not None:
            return _inner(entry.value_field)
    return None


def _type(entry: fields.Field[Any]) -> str:
    """The type of an entry in words, with its choices."""
    said = {
        fields.Nested: "map",
        fields.List: "list",
        fields.Dict: "map by name",
        fields.Integer: "whole number",
        fields.Boolean: "true or false",
        schemas.Day: "day",
        schemas.Number: "number",
    }
    words = next((text for kind, text in said.items() if isinstance(entry, kind)), "text")
    for rule in entry.validators:
        if isinstance(rule, validate.OneOf):
            return f"{words}: {', '.join(map(str, rule.choices))}"
    return words


def _of_expressions() -> dict[str, Any]:
    return {"functions": expressions.FUNCTIONS, "row_functions": expressions.ROW_FUNCTIONS, "kinds": expressions.KINDS}


def _of_decisions() -> dict[str, Any]:
    files = sorted(_DECISIONS.glob("*.md"))
    return {"decisions": [(path.stem, *_split(path.read_text("utf-8"))) for path in files]}


def _split(text: str) -> tuple[str, list[list[str]]]:
    """The heading of a decision, and its paragraphs; every second part of a paragraph stood between backticks."""
    heading, _, rest = text.strip().partition("\n")
    return heading.lstrip("# ").strip(), [" ".join(paragraph.split()).split("`") for paragraph in rest.strip().split("\n\n")]


def _of_validation() -> dict[str, Any]:
    return {
        "sources": validation.sources(),
        "standings": validation.STANDINGS,
        "around": validation.around(),
        "title_of": validation.title_of,
    }


_TABLES: dict[str, Callable[[], dict[str, Any]]] = {
    "participants": _of_participants,
    "identities": _of_identities,
    "visits": lambda: {"standings": schedule.STANDINGS},
    "forms": _of_forms,
    "approvals": _of_approvals,
    "accounts": _of_accounts,
    "people": _of_people,
    "exports": _of_exports,
    "allocation": _of_allocation,
    "roles": _of_roles,
    "states": _of_states,
    "protocol": _of_protocol,
    "expressions": _of_expressions,
    "decisions": _of_decisions,
    "validation": _of_validation,
}

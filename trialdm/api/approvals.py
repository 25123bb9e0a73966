"""The register of approvals: decisions, documents and modifications. Whatever is sent twice is answered 409 the second time."""

import base64
import binascii
from typing import Any

from flask_smorest import Blueprint
from marshmallow import RAISE

from trialdm.api import schemas
from trialdm.domain.errors import Invalid
from trialdm.domain.ethics import Approval, Condition, Document, Modification, Step
from trialdm.domain.protocol import NATIONS
from trialdm.door.security import change, known_person, read
from trialdm.services import approvals, modifications, register, studies
from trialdm.services.approvals import Letter
from trialdm.services.unit import Unit

api = Blueprint("api_approvals", __name__, url_prefix="/api/v1/trials/<trial>", description="The register of approvals")


def _letter(sent: dict[str, str] | None) -> Letter | None:
    """A file as it is sent: its name, its content in Base64, and its digest where the sender gives one."""
    if sent is None:
        return None
    try:
        content = base64.b64decode(sent["content"], validate=True)
    except (binascii.Error, ValueError):
        raise Invalid(
            "The content of the file is not Base64.", code="FILE.BASE64", needs="The file in Base64, without line breaks."
        ) from None
    return Letter(sent["name"], content, sent["sha256"])


# --- decisions -------------------------------------------------------------------------------------------------------


@api.get("/approvals")
@api.response(200, schemas.Approval(many=True))
@known_person
def decisions(trial: str) -> Any:
    """Every decision on record, in the order of recording."""
    return read(lambda unit: approvals.listed(unit, trial))


@api.get("/approvals/status")
@api.arguments(schemas.DelegationQuery, location="query", unknown=RAISE)
@api.response(200, schemas.Standing(many=True))
@known_person
def status(asked: dict[str, Any], trial: str) -> Any:
    """The register as it stood on a day: what was in force, and the version of each document that each site used."""

    def work(unit: Unit) -> list[dict[str, Any]]:
        unit.require("approvals.see", trial)
        return approvals.as_of(unit, trial, asked["on"] or unit.today, asked["site"])

    return read(work)


@api.post("/approvals")
@api.arguments(schemas.NewApproval)
@api.response(201, schemas.Approval)
@known_person
def record(body: dict[str, Any], trial: str) -> Any:
    """Record a decision as its letter says it; an opinion and a green light count once a second person has checked them."""
    letter = _letter(body.pop("letter"))
    conditions = tuple(Condition(**condition) for condition in body.pop("conditions"))
    given = {key: tuple(value) if isinstance(value, list) else value for key, value in body.items()}

    def work(unit: Unit) -> dict[str, Any]:
        number = approvals.record(unit, trial, Approval(conditions=conditions, **given), letter)
        return approvals.describe(unit, approvals.one(unit, trial, number))

    return change(work)


@api.post("/approvals/<int:number>/check")
@api.response(200, schemas.Approval)
@known_person
def check(trial: str, number: int) -> Any:
    """Confirm, as the second person, that a decision is recorded as its letter says."""

    def work(unit: Unit) -> dict[str, Any]:
        approvals.check(unit, trial, number)
        return approvals.describe(unit, approvals.one(unit, trial, number))

    return change(work)


@api.post("/approvals/<int:number>/conditions/<int:condition>")
@api.arguments(schemas.MetCondition)
@api.response(200, schemas.Approval)
@known_person
def meet(body: dict[str, Any], trial: str, number: int, condition: int) -> Any:
    """Record how a condition was met; conditions count from 1."""

    def work(unit: Unit) -> dict[str, Any]:
        approvals.meet(unit, trial, number, condition - 1, body["met_on"], body["evidence"], _letter(body["letter"]))
        return approvals.describe(unit, approvals.one(unit, trial, number))

    return change(work)


# --- documents -------------------------------------------------------------------------------------------------------


@api.get("/documents")
@api.response(200, schemas.DocumentVersion(many=True))
@known_person
def documents(trial: str) -> Any:
    """Every version of a document, with the day from which each site uses it."""
    return read(lambda unit: approvals.documents(unit, trial))


@api.post("/documents")
@api.arguments(schemas.NewDocument)
@api.response(201, schemas.DocumentVersion)
@known_person
def record_document(body: dict[str, Any], trial: str) -> Any:
    """Record a version of a document."""
    file = _letter(body.pop("file"))
    body["nations"] = tuple(body["nations"]) or tuple(NATIONS)

    def work(unit: Unit) -> dict[str, Any]:
        new = Document(code=approvals.next_code(unit, trial, body["kind"]), **body)
        approvals.record(unit, trial, new, file)
        return _version(unit, trial, new.kind, new.code)

    return change(work)


@api.post("/documents/<kind>/<int:code>/take-up")
@api.arguments(schemas.TakeUp)
@api.response(200, schemas.DocumentVersion)
@known_person
def take_up(body: dict[str, Any], trial: str, kind: str, code: int) -> Any:
    """Record from which day a site uses a version."""

    def work(unit: Unit) -> dict[str, Any]:
        approvals.take_up(unit, trial, kind, code, body["site"], body["on"])
        return _version(unit, trial, kind, code)

    return change(work)


@api.post("/documents/<kind>/<int:code>/revoke")
@api.arguments(schemas.Revocation)
@api.response(200, schemas.DocumentVersion)
@known_person
def revoke(body: dict[str, Any], trial: str, kind: str, code: int) -> Any:
    """Take a version out of use everywhere, from a day on."""

    def work(unit: Unit) -> dict[str, Any]:
        approvals.revoke(unit, trial, kind, code, body["on"], body["reason"])
        return _version(unit, trial, kind, code)

    return change(work)


def _version(unit: Unit, trial: str, kind: str, code: int) -> dict[str, Any]:
    return approvals.describe_document(
        register.read(unit, trial), studies.protocol(unit, trial), approvals.document(unit, trial, kind, code)
    )


# --- modifications ---------------------------------------------------------------------------------------------------


@api.get("/modifications")
@api.response(200, schemas.Modification(many=True))
@known_person
def listed(trial: str) -> Any:
    """Every modification as it stands today, with its state at each site."""
    return read(lambda unit: modifications.listed(unit, trial))


@api.post("/modifications")
@api.arguments(schemas.NewModification)
@api.response(201, schemas.Modification)
@known_person
def propose(body: dict[str, Any], trial: str) -> Any:
    """Record a modification with its class and the output of the Modification Tool."""
    tool = _letter(body["tool"])

    def work(unit: Unit) -> dict[str, Any]:
        new = Modification(
            body["ref"],
            body["title"],
            tuple(body["changes"]),
            body["class_"],
            body["category"],
            unit.today,
            legacy=body["legacy_class"],
            justification=body["justification"],
            proposes=body["version"],
            documents=tuple((named["kind"], named["code"]) for named in body["documents"]),
        )
        modifications.propose(unit, trial, new, tool)
        return _modification(unit, trial, new.ref)

    return change(work)


@api.post("/modifications/<ref>/steps")
@api.arguments(schemas.ModificationStep)
@api.response(200, schemas.Modification)
@known_person
def step(body: dict[str, Any], trial: str, ref: str) -> Any:
    """Record what happened to a modification: at the committee, or at a site."""

    def work(unit: Unit) -> dict[str, Any]:
        modifications.step(unit, trial, ref, Step(**body))
        return _modification(unit, trial, ref)

    return change(work)


def _modification(unit: Unit, trial: str, ref: str) -> dict[str, Any]:
    sites = [site.code for site in studies.protocol(unit, trial).sites]
    return modifications.describe(modifications.one(unit, trial, ref), unit.today, sites)

"""Trials, their sites, forms and gate, and the audit trail."""

from typing import Any

from flask import Response
from flask_smorest import Blueprint
from marshmallow import RAISE

from trialdm.api import schemas
from trialdm.domain.crf import Form, Item
from trialdm.domain.errors import Missing
from trialdm.domain.protocol import Protocol
from trialdm.domain.schedule import STANDINGS
from trialdm.door.security import change, instance, known_person, read, streamed
from trialdm.services import (
    anchors,
    clocks,
    double_entry,
    gates,
    imports,
    overview,
    participants,
    people,
    reconsents,
    schemes,
    screening,
    steps,
    studies,
    trail,
    versions,
    visits,
)
from trialdm.services.unit import Unit

api = Blueprint("api_trials", __name__, url_prefix="/api/v1/trials", description="Trials and their definitions")


def _seen(unit: Unit, trial: str) -> Protocol:
    protocol = studies.protocol(unit, trial)
    unit.require("trial.see", trial)
    return protocol


@api.get("")
@api.response(200)
@known_person
def trials() -> Any:
    """Trials in which the person has a role."""
    return read(lambda unit: [_describe(unit, protocol) for protocol in studies.protocols(unit)])


@api.get("/<trial>")
@api.response(200)
@known_person
def trial(trial: str) -> Any:
    """One trial: title, version, state, arms, visits."""

    def work(unit: Unit) -> dict[str, Any]:
        protocol = _seen(unit, trial)
        return {
            **_describe(unit, protocol),
            "arms": [{"code": arm.code, "name": arm.name, "label": arm.label, "ratio": arm.ratio} for arm in protocol.arms],
            "visits": [
                {
                    "code": v.code,
                    "number": v.number,
                    "label": v.label,
                    "kind": v.kind,
                    "target": v.target,
                    "before": v.before,
                    "after": v.after,
                    "forms": {form.code: how for form, how in protocol.forms_at(v)},
                }
                for v in protocol.visits
            ],
        }

    return read(work)


def _describe(unit: Unit, protocol: Protocol) -> dict[str, Any]:
    return {
        "id": protocol.id,
        "short_title": protocol.short_title,
        "title": protocol.title,
        "version": protocol.version,
        "origin": protocol.origin,
        "state": studies.state(unit, protocol.id),
        "demo": instance().settings.demo,
    }


@api.get("/<trial>/sites")
@api.response(200)
@known_person
def sites(trial: str) -> Any:
    """Sites that the person sees, with their states and recruitment."""
    return read(lambda unit: [vars(row) for row in overview.sites(unit, trial)])


@api.get("/<trial>/forms")
@api.response(200)
@known_person
def forms(trial: str) -> Any:
    """Forms of the protocol, in the order of the schedule."""

    def work(unit: Unit) -> list[dict[str, Any]]:
        protocol = _seen(unit, trial)
        sees = unit.sees_allocations(trial, None) or _sees_somewhere(unit, protocol)
        return [
            {"form": f.code, "title": f.title, "kind": f.kind, "repeating": f.repeating, "visits": dict(f.visits)}
            for f in protocol.forms
            if sees or not f.restricted
        ]

    return read(work)


def _sees_somewhere(unit: Unit, protocol: Protocol) -> bool:
    return any(unit.sees_allocations(protocol.id, site.code) for site in protocol.sites)


@api.get("/<trial>/forms/<form>")
@api.response(200)
@known_person
def form(trial: str, form: str) -> Any:
    """The definition of one form: items, types, units, limits, codes, conditions and checks."""

    def work(unit: Unit) -> dict[str, Any]:
        protocol = _seen(unit, trial)
        found = protocol.form(form)
        sees = _sees_somewhere(unit, protocol)
        if found.restricted and not sees:
            raise Missing(f"Trial {trial} has no form '{form}'.", code="CRF.NO_FORM")
        return _form(found, sees)

    return read(work)


def _form(form: Form, sees: bool) -> dict[str, Any]:
    return {
        "form": form.code,
        "title": form.title,
        "kind": form.kind,
        "repeating": form.repeating,
        "visits": dict(form.visits),
        "items": [_item(item, sees) for item in form.items if sees or not item.restricted],
        "summary": [_item(item, sees) for item in form.summary if sees or not item.restricted],
        "checks": [
            {"id": c.id, "severity": c.severity, "when": c.when.source, "items": list(c.items), "message": c.message}
            for c in form.checks
            if sees or not all(form.by_name[name].restricted for name in c.items if name in form.by_name)
        ],
    }


def _item(item: Item, sees: bool) -> dict[str, Any]:
    codes = item.codelist.shown_to(blinded=not sees) if item.codelist else None
    return {
        "name": item.name,
        "label": item.label,
        "type": item.type,
        "section": item.section,
        "help": item.help,
        "unit": item.unit,
        "min": _number(item.minimum),
        "max": _number(item.maximum),
        "soft_min": _number(item.soft_minimum),
        "soft_max": _number(item.soft_maximum),
        "decimals": item.decimals if item.holds == "dec" else None,
        "length": item.length if item.holds == "text" else None,
        "codes": {str(code): label for code, label in codes.items()} if codes is not None else None,
        "source": item.source or None,
        "required": item.required,
        "show_if": item.show_if.source if item.show_if else None,
        "value": item.value.source if item.value else None,
        "result": item.result or None,
        "system": bool(item.system),
    }


def _number(value: Any) -> str | None:
    return None if value is None else f"{value:f}"


@api.post("/<trial>/imports")
@api.arguments(schemas.NewImport)
@api.response(200, schemas.Imported)
@known_person
def import_file(body: dict[str, Any], trial: str) -> Any:
    """Import a CSV file into a form, all rows or none; with `dry_run` only say what would happen, wrong cells included."""
    read(lambda unit: unit.require("form.import", trial))
    if body["dry_run"]:
        return imports.tried(change, trial, body["form"], body["text"], reason=body["reason"]).to_json()
    return change(lambda unit: imports.load(unit, trial, body["form"], body["text"], reason=body["reason"])).to_json()


@api.get("/<trial>/versions")
@api.response(200, schemas.Version(many=True))
@known_person
def protocol_versions(trial: str) -> Any:
    """Every version of the protocol, newest first: its state, and from which day each site uses it."""
    return read(lambda unit: [version.to_json() for version in versions.listed(unit, trial)])


@api.get("/<trial>/versions/<int:seq>")
@api.response(200)
@known_person
def protocol_version(trial: str, seq: int) -> Any:
    """What a version differs in from the one before it that is in use, and what of that touches what is saved."""
    return read(lambda unit: versions.impact(unit, trial, seq).to_json())


@api.get("/<trial>/deadlines")
@api.response(200)
@known_person
def deadlines(trial: str) -> Any:
    """What is due, by which day, and who owes it: what the caller may see of it."""

    def work(unit: Unit) -> list[dict[str, Any]]:
        return [clocks.describe(deadline, clocks.now(unit)) for deadline in clocks.listed(unit, trial)]

    return read(work)


@api.get("/<trial>/steps")
@api.arguments(schemas.CourseQuery, location="query", unknown=RAISE)
@api.response(200)
@known_person
def course(query: dict[str, str], trial: str) -> Any:
    """Where the trial, or a site of it, stands: the steps that were taken, and those that can come next."""
    return read(lambda unit: steps.course(unit, trial, query["site"]).to_json())


@api.post("/<trial>/steps")
@api.arguments(schemas.NewStep)
@api.response(200)
@known_person
def take_step(body: dict[str, str], trial: str) -> Any:
    """Take a step of the trial, or of a site of it, where role and gate allow it. `lock` asks for the lock; a second person confirms."""

    def work(unit: Unit) -> dict[str, Any]:
        if body["site"]:
            gates.move_site(unit, trial, body["site"], body["event"], reason=body["reason"])
        else:
            gates.move_trial(unit, trial, body["event"], reason=body["reason"])
        return steps.course(unit, trial, body["site"]).to_json()

    return change(work)


@api.get("/<trial>/screening")
@api.arguments(schemas.SiteQuery, location="query", unknown=RAISE)
@api.response(200, schemas.Screened(many=True))
@known_person
def screening_log(asked: dict[str, str], trial: str) -> Any:
    """The screening log of the sites that the caller sees."""
    return read(lambda unit: [entry.to_json() for entry in screening.log(unit, trial, site=asked["site"])])


@api.get("/<trial>/visits")
@api.arguments(schemas.VisitsQuery, location="query", unknown=RAISE)
@api.response(200, schemas.ExpectedVisit(many=True))
@known_person
def scheduled(asked: dict[str, Any], trial: str) -> Any:
    """The scheduled visits at the sites that the caller sees, by target day, with where each stands."""
    standings = [asked["standing"]] if asked["standing"] else list(STANDINGS)
    return read(lambda unit: [one.to_json() for one in visits.listed(unit, trial, site=asked["site"], standings=standings)])


@api.get("/<trial>/calendar.ics")
@api.arguments(schemas.SiteQuery, location="query", unknown=RAISE)
@api.response(200, content_type="text/calendar")
@known_person
def calendar_feed(asked: dict[str, str], trial: str) -> Any:
    """The expected visits as a calendar (RFC 5545). A calendar program may send HTTP Basic: the e-mail address, and a token as the
    password. No secret stands in the address."""
    return Response(read(lambda unit: visits.feed(unit, trial, site=asked["site"])), mimetype="text/calendar")


@api.get("/<trial>/reconsent")
@api.arguments(schemas.SiteQuery, location="query", unknown=RAISE)
@api.response(200, schemas.Reconsent(many=True))
@known_person
def reconsent(asked: dict[str, str], trial: str) -> Any:
    """Who has to consent again, why and how urgently, and who did, at the sites that the caller sees."""
    return read(lambda unit: [line.to_json() for line in reconsents.listed(unit, trial, asked["site"])])


@api.get("/<trial>/double-entry")
@api.arguments(schemas.SiteQuery, location="query", unknown=RAISE)
@api.response(200, schemas.EnteredTwice(many=True))
@known_person
def entered_twice(asked: dict[str, str], trial: str) -> Any:
    """Forms that wait for a second entry, or for a third person who settles what two entries differ in; without what anybody typed."""
    return read(lambda unit: [one.to_json() for one in double_entry.listed(unit, trial, site=asked["site"])])


@api.get("/<trial>/gate")
@api.arguments(schemas.GateQuery, location="query", unknown=RAISE)
@api.response(200, schemas.GateAnswer)
@known_person
def gate(asked: dict[str, Any], trial: str) -> Any:
    """May this be done here on this day, and if not, why not."""

    def work(unit: Unit) -> dict[str, Any]:
        _seen(unit, trial)
        return participants.gate(
            unit, trial, asked["action"], site=asked["site"], on=asked["on"], participant=asked["participant"]
        ).to_json()

    return read(work)


@api.get("/<trial>/allocation")
@api.response(200, schemas.AllocationStatus)
@known_person
def allocation(trial: str) -> Any:
    """The schemes of the trial as everybody in it may know them: state, commitment, last head."""
    return read(lambda unit: schemes.status(unit, trial))


@api.get("/<trial>/audit")
@api.arguments(schemas.AuditQuery, location="query", unknown=RAISE)
@api.response(200)
@known_person
def audit(asked: dict[str, Any], trial: str) -> Any:
    """A page of the audit trail, oldest first; what would unblind is left out for blinded roles."""

    def work(unit: Unit) -> dict[str, Any]:
        wanted = dict(asked)
        if wanted["user"]:
            unit.require("audit.see", trial)
            wanted["user"] = people.by_email(unit, wanted["user"]).id
        lines = trail.of_trial(unit, trial, trail.Filter(**wanted))
        return {"items": [line.to_json() for line in lines], "next_after": lines[-1].seq if len(lines) == trail.PAGE else None}

    return read(work)


@api.get("/<trial>/audit/file")
@api.arguments(schemas.AuditFile, location="query", unknown=RAISE)
@api.response(200)
@known_person
def audit_file(asked: dict[str, Any], trial: str) -> Any:
    """The whole audit trail, streamed: as CSV, as JSON lines, or (`proofs`) with all that a verifier of one's own needs."""
    kind = asked["kind"]
    change(lambda unit: trail.exported(unit, trial, kind))
    if kind == "proofs":
        return Response(streamed(lambda unit: trail.proofs(unit, trial)), mimetype=trail.FILES["jsonl"])
    return Response(streamed(lambda unit: trail.file(unit, trial, trail.Filter(), kind)), mimetype=trail.FILES[kind])


@api.get("/<trial>/audit/<ident>/receipt")
@api.response(200)
@known_person
def audit_receipt(trial: str, ident: str) -> Any:
    """The receipt of an entry: it proves without the database that the entry stands in the trail."""
    return read(lambda unit: anchors.receipt(unit, trial, ident))

"""Every route and the right that it asks for: the role table (`domain.roles`) says who holds it. A route that is not here is refused.

A right is necessary, never sufficient: the use case behind the route looks at the site, the participant, the delegation log and the gate.
Of several rights one is enough; what the reader then sees is narrowed by the use case.
"""

from collections.abc import Mapping
from typing import Any

from flask import Flask, request

from trialdm.domain import roles
from trialdm.domain.errors import Forbidden, SignedOut
from trialdm.door.security import actor, change, read
from trialdm.services.unit import NOBODY

#: Open to anybody: what lies before signing in, the guide, and what a supervisor asks.
OPEN = frozenset(
    {
        "static",
        "bootstrap.static",
        "healthz",
        "readyz",
        "api-docs.openapi_json",
        "guide.start",
        "guide.page",
        *(
            f"sign_in.{name}"
            for name in (
                *("form", "submit", "second", "ask_key", "prove", "setting_up", "offer_key", "set_up"),
                *("forgotten", "ask_reset", "setting", "set_password", "go_outside", "come_back"),
            )
        ),
    }
)

#: For everybody who has signed in, about themselves; each use case looks for what is theirs.
OWN = frozenset({"sign_in.sign_out", "trials.home", "api_trials.trials"})
OWN_ROOMS = frozenset({"account", "notices", "api_notices"})

_READ_PEOPLE = ("people.see",)
_PARTICIPANTS = ("participant.see",)
#: Who works on forms: those who see them, and those who judge safety, who read its forms.
_FORMS = ("form.see", "safety.assess")
_ENVELOPES = ("allocation.envelopes", "allocation.reconcile")
#: Who rehearses or signs may know block sizes; the use case refuses whoever recruits.
_SPECIFICATION = ("rehearsal.run", "rehearsal.sign")
_VERSIONS = ("approvals.see", "trial.configure")
_PACKAGES = ("export.blinded", "export.unblinded", "case.export")

#: Room (blueprint) -> the rights of its routes, unless the route has its own below.
ROOMS: Mapping[str, tuple[str, ...]] = {
    "accounts": ("people.manage",),
    "allocation": ("trial.see",),
    "api_approvals": ("approvals.see",),
    "api_derived": ("derived.see",),
    "api_identities": ("identity.ask", "identity.confirm"),
    "api_exports": _PACKAGES,
    "api_forms": _FORMS,
    "api_participants": _PARTICIPANTS,
    "api_people": ("delegation.see",),
    "api_queries": ("query.see",),
    "api_safety": ("report.safety",),
    "api_signing": ("form.see",),
    "api_trials": ("trial.see",),
    "api_unblinding": ("unblinding.see",),
    "approvals": ("approvals.see",),
    "deadlines": ("approvals.see",),
    "derived": ("derived.see",),
    "envelopes": _ENVELOPES,
    "exports": _PACKAGES,
    "factors": _PARTICIPANTS,
    "forms": _FORMS,
    "identities": ("identity.ask", "identity.confirm"),
    "imports": ("form.import",),
    "modifications": ("approvals.see",),
    "participants": _PARTICIPANTS,
    "pathway": ("case.report",),
    "people": ("delegation.see",),
    "printing": ("trial.see",),
    "queries": ("query.see",),
    "rehearsals": _SPECIFICATION,
    "reports": ("report.monitoring",),
    "row_table": _FORMS,
    "safety": ("report.safety",),
    "signing": ("form.see",),
    "steps": ("trial.see",),
    "theatre": ("theatre.confirm",),
    "trail": ("audit.see",),
    "transfers": ("participant.transfer",),
    "trials": ("trial.see",),
    "unblinding": ("unblinding.see",),
    "versions": _VERSIONS,
    "visits": _PARTICIPANTS,
    "worklists": _PARTICIPANTS,
}

#: Routes whose right is not that of their room.
ROUTES: Mapping[str, tuple[str, ...]] = {
    "accounts.listing": _READ_PEOPLE,
    "accounts.one": _READ_PEOPLE,
    "allocation.commit": ("allocation.prepare",),
    "allocation.contribute": ("allocation.contribute",),
    "allocation.fetch_ledger": ("allocation.ledger",),
    "allocation.fetch_specification": _SPECIFICATION,
    "allocation.move": ("allocation.move",),
    "allocation.read_specification": _SPECIFICATION,
    "allocation.sign": ("allocation.sign",),
    "allocation.write_balance": ("allocation.balance",),
    "api_approvals.check": ("approvals.check",),
    "api_approvals.meet": ("approvals.record",),
    "api_approvals.propose": ("modification.propose",),
    "api_approvals.record": ("approvals.record",),
    "api_approvals.record_document": ("approvals.record",),
    "api_approvals.revoke": ("approvals.record",),
    "api_approvals.step": ("modification.propose", "modification.site"),
    "api_approvals.take_up": ("approvals.record", "documents.take-up"),
    "api_derived.of_person": _PARTICIPANTS,
    "api_derived.of_person_restricted": _PARTICIPANTS,
    "api_identities.ask": ("identity.ask",),
    "api_identities.decide": ("identity.confirm",),
    "api_identities.duplicate": ("identity.enter",),
    "api_identities.enter": ("identity.enter",),
    "api_identities.open_asked": ("identity.ask",),
    "api_identities.see": ("identity.see",),
    "api_identities.shred": ("identity.shred",),
    "api_participants.add": ("participant.add",),
    "api_participants.factor_values": ("participant.see", "allocation.correct"),
    "api_participants.randomise": ("participant.randomise",),
    "api_participants.theatre_check": ("theatre.confirm",),
    "api_participants.transfer": ("participant.transfer",),
    "api_participants.unblind": ("allocation.unblind",),
    "api_queries.run": ("checks.run",),
    "api_safety.code": ("event.code",),
    "api_safety.coding": ("event.code",),
    "api_safety.expected": ("trial.see",),
    "api_safety.listed": ("event.code",),
    "api_safety.load": ("event.code",),
    "api_signing.held": ("hold.move",),
    "api_signing.move": ("hold.move",),
    "api_signing.sign": ("form.sign",),
    "api_signing.sign_casebook": ("casebook.sign",),
    "api_signing.verify": ("form.verify",),
    "api_trials.audit": ("audit.see",),
    "api_trials.audit_file": ("audit.see",),
    "api_trials.audit_receipt": ("audit.see",),
    "api_trials.calendar_feed": _PARTICIPANTS,
    "api_trials.deadlines": ("approvals.see",),
    "api_trials.entered_twice": ("form.see",),
    "api_trials.import_file": ("form.import",),
    "api_trials.protocol_version": _VERSIONS,
    "api_trials.protocol_versions": _VERSIONS,
    "api_trials.reconsent": _PARTICIPANTS,
    "api_trials.scheduled": _PARTICIPANTS,
    "api_trials.screening_log": _PARTICIPANTS,
    "api_trials.take_step": ("trial.move", "trial.pause", "site.move"),
    "api_unblinding.end": ("trial.unblind",),
    "approvals.ask": ("approvals.record",),
    "approvals.ask_document": ("approvals.record",),
    "approvals.check": ("approvals.check",),
    "approvals.meet": ("approvals.record",),
    "approvals.record": ("approvals.record",),
    "approvals.record_document": ("approvals.record",),
    "approvals.revoke": ("approvals.record",),
    "approvals.take_up": ("approvals.record", "documents.take-up"),
    "deadlines.fact": ("facts.record",),
    "deadlines.met": ("facts.record",),
    "derived.of_person": _PARTICIPANTS,
    "derived.of_person_restricted": _PARTICIPANTS,
    "factors.find": ("participant.see", "allocation.correct"),
    "factors.mark": ("allocation.correct",),
    "factors.table": ("participant.see", "allocation.correct"),
    "factors.verify": ("allocation.verify",),
    "identities.add": ("participant.add",),
    "identities.ask": ("identity.ask",),
    "identities.certificate": ("identity.shred", "identity.trail"),
    "identities.decide": ("identity.confirm",),
    "identities.enter": ("identity.enter",),
    "identities.new": ("participant.add",),
    "identities.one": _PARTICIPANTS,
    "identities.open_asked": ("identity.ask",),
    "identities.requests": ("identity.ask", "identity.confirm", "identity.shred", "identity.trail"),
    "identities.see": ("identity.see",),
    "identities.shred": ("identity.shred",),
    "modifications.ask": ("modification.propose",),
    "modifications.propose": ("modification.propose",),
    "modifications.step": ("modification.propose", "modification.site"),
    "participants.add": ("participant.add",),
    "participants.randomise": ("participant.randomise",),
    "pathway.follow": ("guidance.change",),
    "pathway.guidance": ("trial.see",),
    "people.asking": ("trial.see",),
    "people.certificate": ("approvals.see",),
    "people.credential": ("training.record",),
    "people.propose": ("delegation.propose",),
    "people.proposing": ("delegation.propose",),
    "people.take": ("trial.see",),
    "people.train": ("training.record",),
    "printing.casebook": ("form.see",),
    "printing.of_form": ("form.see",),
    "printing.of_visit": ("form.see",),
    "queries.preview": ("checks.run",),
    "queries.run": ("checks.run",),
    "rehearsals.ask": ("rehearsal.run",),
    "rehearsals.new": ("rehearsal.run",),
    "rehearsals.sign": ("rehearsal.sign",),
    "reports.flow_by_arm": ("report.flow",),
    "reports.flow_file": ("report.flow",),
    "reports.participant_flow": ("report.flow",),
    "reports.recruited": ("report.recruitment",),
    "reports.recruited_file": ("report.recruitment",),
    "safety.code": ("event.code",),
    "safety.coding": ("event.code",),
    "safety.expected": ("trial.see",),
    "signing.held": ("hold.move",),
    "signing.hold": ("hold.move",),
    "signing.move": ("hold.move",),
    "signing.sign": ("form.sign", "casebook.sign"),
    "signing.signed": ("form.sign", "casebook.sign"),
    "signing.verified": ("form.verify",),
    "signing.verify": ("form.verify",),
    "signing.waiting": ("form.sign", "casebook.sign"),
    "trail.ask": ("audit.redact",),
    "trail.asked": ("audit.redact",),
    "trail.settle": ("audit.redact",),
    "unblinding.emergency": ("allocation.unblind",),
    "unblinding.end": ("trial.unblind",),
    "unblinding.look": _PARTICIPANTS,
    "unblinding.tell": ("allocation.tell",),
    "unblinding.telling": ("allocation.tell",),
    "unblinding.unblind": ("allocation.unblind",),
    "worklists.add": ("participant.add",),
    "worklists.entered_twice": ("form.see",),
    "worklists.entered_twice_file": ("form.see",),
}


def register(app: Flask) -> None:
    """Look at the right of every request before anything else of it is looked at."""
    app.before_request(_permit)


def rights(endpoint: str) -> tuple[str, ...] | None:
    """The rights of which a route asks one; none for what is open or one's own, and None for a route that nobody declared."""
    room = endpoint.partition(".")[0]
    if endpoint in OPEN or endpoint in OWN or room in OWN_ROOMS:
        return ()
    return ROUTES.get(endpoint) or ROOMS.get(room)


def _permit() -> None:
    endpoint, person = request.endpoint, actor()
    if endpoint is None or endpoint in OPEN:
        return
    if person is NOBODY:
        if request.path.startswith("/api/"):
            raise SignedOut("Send a bearer token, or sign in on the pages first.")
        return  # the view itself sends whoever has not signed in to do so, and keeps what they typed
    asked = rights(endpoint)
    if asked is None:
        raise Forbidden("Nobody may do this.", code="ROLE.ROUTE", needs="A right for this route in the table of routes.")
    trial = (request.view_args or {}).get("trial", "*")
    if not asked or any(_may(person.grants, right, trial) for right in asked):
        return
    refuse = read if request.method in ("GET", "HEAD", "OPTIONS") else change
    refuse(lambda unit: unit.require(asked[0], trial))


def _may(grants: Any, right: str, trial: str) -> bool:
    """Whether a right is held anywhere in the trial, as one over participants or as one over cases."""
    return roles.may(grants, right, trial) or roles.may(grants, roles.OF_CASES.get(right, right), trial)

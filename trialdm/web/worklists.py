"""Lists that people work through: who has to consent again, what is entered twice, and the log of everybody who was screened."""

from flask import Blueprint, request, url_for
from werkzeug.wrappers import Response as AnyResponse

from trialdm.documents.tables import as_csv
from trialdm.domain import screening as outcomes
from trialdm.domain.errors import TrialError
from trialdm.domain.ethics.reconsent import URGENCIES
from trialdm.door.security import read, signed_in
from trialdm.services import double_entry, identities, participants, reconsents, screening, studies
from trialdm.services.unit import Unit
from trialdm.web.layout import act, attached, form_page, page, sites_seen

pages = Blueprint("worklists", __name__, url_prefix="/trials/<trial>")


@pages.get("/reconsent")
@signed_in
def reconsent(trial: str) -> str:
    """Who has to consent again at the sites that the person sees, and who did."""

    def work(unit: Unit) -> str:
        protocol = studies.protocol(unit, trial)
        site = request.args.get("site", "")
        lines = reconsents.listed(unit, trial, site)
        return page(
            "reconsent.html",
            protocol,
            site=site,
            sites=sites_seen(unit, protocol),
            waiting=[(urgency, words, _of(lines, urgency)) for urgency, words in URGENCIES.items()],
            done=[line for line in lines if line.renewal.done],
        )

    return read(work)


def _of(lines: list[reconsents.Line], urgency: str) -> list[reconsents.Line]:
    return [line for line in lines if line.renewal.urgency == urgency and not line.renewal.done]


# --- double entry ----------------------------------------------------------------------------------------------------


@pages.get("/double-entry")
@signed_in
def entered_twice(trial: str) -> str:
    """Forms that wait for a second entry, and those whose two entries differ."""

    def work(unit: Unit) -> str:
        protocol, site = studies.protocol(unit, trial), request.args.get("site", "")
        lines = [(one, form_page(protocol, one.participant, one.visit, one.form, one.row)) for one in _entered(unit, trial)]
        groups = [(step, words, [line for line in lines if line[0].next == step]) for step, words in double_entry.STEPS.items()]
        return page("double_entry.html", protocol, site=site, sites=sites_seen(unit, protocol, "form.see"), groups=groups)

    return read(work)


@pages.get("/double-entry.csv")
@signed_in
def entered_twice_file(trial: str) -> AnyResponse:
    """The same forms as CSV."""
    rows = read(lambda unit: [{**one.to_json(), "entered_by": "; ".join(one.entered_by)} for one in _entered(unit, trial)])
    return attached(as_csv(rows, double_entry.COLUMNS), f"{trial}-double-entry.csv", "text/csv")


def _entered(unit: Unit, trial: str) -> list[double_entry.Line]:
    return double_entry.listed(unit, trial, site=request.args.get("site", ""))


# --- the screening log -----------------------------------------------------------------------------------------------


@pages.get("/screening")
@signed_in
def screening_log(trial: str) -> str:
    """The screening log of the sites that the person sees; a new entry is a new number and its form."""
    return read(lambda unit: _log(unit, trial))


#: Why an entry of the screening log has no identity: nobody has consented to anything yet.
_LATER = "Screened: who it is follows with the consent"


@pages.post("/screening")
@signed_in
def add(trial: str) -> AnyResponse:
    """A new entry: a fresh number at a site, and on to the screening form."""

    def work(unit: Unit) -> str:
        later = _LATER if identities.kept(unit, trial) else ""
        row = identities.add(unit, trial, request.form.get("site", ""), later=later)
        at = screening.entered_at(studies.protocol_at(unit, trial, row.site))
        if at is None:
            return url_for("participants.one", trial=trial, participant=row.id, added=1)
        return url_for("forms.show", trial=trial, participant=row.id, visit=at[0], form=at[1])

    return act(work, lambda unit, problem: _log(unit, trial, problem), str)


def _log(unit: Unit, trial: str, problem: TrialError | None = None) -> str:
    protocol = studies.protocol(unit, trial)
    site, came, reason = request.args.get("site", ""), request.args.get("outcome", ""), request.args.get("reason", type=int)
    sites = sites_seen(unit, protocol)
    entries = screening.log(unit, trial, site=site, came=came, reason=reason)
    return page(
        "screening.html",
        protocol,
        site=site,
        came=came,
        reason=reason,
        sites=sites,
        groups=[(one, found) for one in sites if (found := [entry for entry in entries if entry.site == one.code])],
        total=len(entries),
        outcomes=outcomes.OUTCOMES,
        reasons=screening.reasons(protocol),
        at=screening.entered_at(protocol),
        open_sites=participants.open_sites(unit, protocol),
        problem=problem,
    )

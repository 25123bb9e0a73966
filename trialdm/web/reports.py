"""Figures about a trial: recruitment against the target (RP-01), the participant flow (RP-02), completeness (RP-03, RP-09)."""

from collections.abc import Sequence
from typing import Any

from flask import Blueprint, Response, request
from werkzeug.wrappers import Response as AnyResponse

from trialdm.documents.tables import as_csv
from trialdm.domain.flow import Flow
from trialdm.domain.recruitment import RATINGS
from trialdm.door.security import change, read, signed_in
from trialdm.services import flow, monitoring, recruitment, studies
from trialdm.services.unit import Unit
from trialdm.web import charts
from trialdm.web.layout import attached, page, part

pages = Blueprint("reports", __name__, url_prefix="/trials/<trial>")


@pages.get("/recruitment")
@signed_in
def recruited(trial: str) -> str:
    """Recruitment by site and month beside what was expected."""

    def work(unit: Unit) -> str:
        overall = recruitment.overall(unit, trial)
        return page(
            "recruitment.html",
            studies.protocol(unit, trial),
            overall=overall,
            sites=recruitment.by_site(unit, trial),
            chart=charts.recruitment(overall) if overall else None,
            ratings=RATINGS,
        )

    return read(work)


@pages.get("/recruitment.csv")
@signed_in
def recruited_file(trial: str) -> AnyResponse:
    """Recruitment by site and month as CSV."""
    return _file(read(lambda unit: recruitment.table(recruitment.by_site(unit, trial))), f"{trial}-RP-01.csv")


# --- how complete the data are (RP-03, RP-09) -------------------------------------------------------------------------


@pages.get("/monitoring")
@signed_in
def monitored(trial: str) -> str:
    """How complete the data are, by site: each figure leads to what it counts."""

    def work(unit: Unit) -> str:
        places = monitoring.by_site(unit, trial)
        lines = monitoring.due(unit, trial)
        return page(
            "monitoring.html",
            studies.protocol(unit, trial),
            places=places,
            figures=monitoring.FIGURES,
            groups=[(key, heading, monitoring.groups(lines, key)) for key, heading in (("visit", "Visit"), ("form", "Form"))],
        )

    return read(work)


@pages.get("/monitoring/forms")
@signed_in
def forms_due(trial: str) -> str:
    """The forms that are due, narrowed by site, visit, form and state."""

    def work(unit: Unit) -> str:
        protocol = studies.protocol(unit, trial)
        found = monitoring.due(unit, trial, **_narrowed())
        return page(
            "forms_due.html",
            protocol,
            part=part(found, _LINES),
            asked=_narrowed(),
            states=monitoring.STATES,
            sites=sorted({line.site for line in monitoring.due(unit, trial)}),
        )

    return read(work)


@pages.get("/monitoring/figures/<figure>")
@signed_in
def counted(trial: str, figure: str) -> str:
    """What one of the figures counts, line by line."""

    def work(unit: Unit) -> str:
        site = request.args.get("site", "")
        found = monitoring.listed(unit, trial, figure, site)
        longest = sorted(found, key=lambda line: -line.days)
        heading = monitoring.FIGURES[figure]
        return page("counted.html", studies.protocol(unit, trial), part=part(longest, _LINES), figure=figure, heading=heading, site=site)

    return read(work)


@pages.get("/monitoring.csv")
@signed_in
def monitored_file(trial: str) -> AnyResponse:
    """The comparison of sites as CSV."""
    return _file(read(lambda unit: monitoring.table(monitoring.by_site(unit, trial))), f"{trial}-RP-09.csv")


@pages.get("/monitoring/forms.csv")
@signed_in
def forms_due_file(trial: str) -> AnyResponse:
    """The forms that are due as CSV."""
    return _file(
        read(lambda unit: monitoring.lines(monitoring.due(unit, trial, **_narrowed()))), f"{trial}-RP-03.csv", monitoring.DUE_COLUMNS
    )


_LINES = 100


def _narrowed() -> dict[str, str]:
    return {name: request.args.get(name, "") for name in ("site", "form", "visit", "state")}


# --- the participant flow (RP-02) ------------------------------------------------------------------------------------


@pages.get("/flow")
@signed_in
def participant_flow(trial: str) -> str:
    """The participant flow of everybody together."""
    return read(lambda unit: _flow(unit, trial, flow.pooled(unit, trial), split=False))


@pages.post("/flow")
@signed_in
def flow_by_arm(trial: str) -> AnyResponse:
    """The participant flow by arm, in this answer only; that it was read is recorded."""
    found = change(lambda unit: flow.by_arm(unit, trial))
    return Response(read(lambda unit: _flow(unit, trial, found, split=True)))


@pages.get("/flow.csv")
@signed_in
def flow_file(trial: str) -> AnyResponse:
    """The counts of the participant flow of everybody together as CSV."""
    return _file(read(lambda unit: flow.table(flow.pooled(unit, trial))), f"{trial}-RP-02.csv")


def _flow(unit: Unit, trial: str, found: Flow, *, split: bool) -> str:
    names = unit.may("participant.see", trial)
    return page(
        "flow.html",
        studies.protocol(unit, trial),
        flow=found,
        diagram=charts.flow(found),
        split=split,
        may_split=flow.may_split(unit, trial) and not split,
        conflicts=found.conflicts if names else (),
        today=unit.today,
    )


def _file(rows: Sequence[dict[str, Any]], name: str, columns: Sequence[str] = ()) -> Response:
    return attached(as_csv(rows, columns), name, "text/csv")

"""Figures about the participants of a trial: recruitment against the target (RP-01) and the participant flow (RP-02)."""

from collections.abc import Sequence
from typing import Any

from flask import Blueprint, Response
from werkzeug.wrappers import Response as AnyResponse

from trialdm.documents.tables import as_csv
from trialdm.domain.flow import Flow
from trialdm.domain.recruitment import RATINGS
from trialdm.door.security import change, read, signed_in
from trialdm.services import flow, recruitment, studies
from trialdm.services.unit import Unit
from trialdm.web import charts
from trialdm.web.layout import page

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


def _file(rows: Sequence[dict[str, Any]], name: str) -> Response:
    return Response(as_csv(rows), mimetype="text/csv", headers={"Content-Disposition": f'attachment; filename="{name}"'})

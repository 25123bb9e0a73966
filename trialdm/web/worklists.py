"""Lists that site staff work through: who has to consent again, and the log of everybody who was screened."""

from flask import Blueprint, request

from trialdm.domain.ethics.reconsent import URGENCIES
from trialdm.door.security import read, signed_in
from trialdm.services import reconsents, studies
from trialdm.services.unit import Unit
from trialdm.web.layout import page

pages = Blueprint("worklists", __name__, url_prefix="/trials/<trial>")


@pages.get("/reconsent")
@signed_in
def reconsent(trial: str) -> str:
    """Who has to consent again at the sites that the person sees, and who did."""

    def work(unit: Unit) -> str:
        protocol = studies.protocol(unit, trial)
        site = request.args.get("site", "")
        lines = reconsents.listed(unit, trial, site)
        sites = unit.sites("participant.see", trial)
        return page(
            "reconsent.html",
            protocol,
            site=site,
            sites=[one for one in protocol.sites if sites is None or one.code in sites],
            waiting=[(urgency, words, _of(lines, urgency)) for urgency, words in URGENCIES.items()],
            done=[line for line in lines if line.renewal.done],
        )

    return read(work)


def _of(lines: list[reconsents.Line], urgency: str) -> list[reconsents.Line]:
    return [line for line in lines if line.renewal.urgency == urgency and not line.renewal.done]

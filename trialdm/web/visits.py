"""The scheduled visits: what is to be done now as a list, and the expected days as a calendar."""

from calendar import monthcalendar
from datetime import date, timedelta

from flask import Blueprint, request
from werkzeug.wrappers import Response as AnyResponse

from trialdm.documents.tables import as_csv
from trialdm.domain.errors import Invalid
from trialdm.domain.schedule import STANDINGS
from trialdm.door.security import read, signed_in
from trialdm.services import studies, visits
from trialdm.services.unit import Unit
from trialdm.services.visits import PRESSING, Expected
from trialdm.web.layout import attached, page, sites_seen

pages = Blueprint("visits", __name__, url_prefix="/trials/<trial>")

#: Standing -> symbol, beside the words.
_SYMBOLS = {"later": "·", "soon": "○", "open": "●", "overdue": "!", "done": "✓", "missed": "–", "ended": "–"}


@pages.get("/visits")
@signed_in
def listing(trial: str) -> str:
    """Visits that are overdue, in their window, or due soon."""

    def work(unit: Unit) -> str:
        found = visits.listed(unit, trial, site=_site(), standings=PRESSING)
        groups = [(standing, STANDINGS[standing], [one for one in found if one.standing == standing]) for standing in PRESSING]
        protocol = studies.protocol(unit, trial)
        return page("visits.html", protocol, site=_site(), sites=sites_seen(unit, protocol), groups=groups)

    return read(work)


@pages.get("/visits.csv")
@signed_in
def table(trial: str) -> AnyResponse:
    """The same visits as CSV."""
    rows = read(lambda unit: visits.table(visits.listed(unit, trial, site=_site(), standings=PRESSING)))
    return attached(as_csv(rows, visits.COLUMNS), f"{trial}-visits.csv", "text/csv")


@pages.get("/calendar")
@signed_in
def month(trial: str) -> str:
    """One month: every visit on its target day, with its window and where it stands."""

    def work(unit: Unit) -> str:
        first = _month(unit.today)
        following = _following(first)
        found = visits.listed(unit, trial, site=_site(), since=first, until=following - timedelta(days=1))
        protocol = studies.protocol(unit, trial)
        return page(
            "calendar.html",
            protocol,
            site=_site(),
            sites=sites_seen(unit, protocol),
            first=first,
            before=(first - timedelta(days=1)).replace(day=1),
            after=following,
            today=unit.today,
            total=len(found),
            weeks=_weeks(first, found),
            standings=STANDINGS,
            symbols=_SYMBOLS,
        )

    return read(work)


@pages.get("/calendar.ics")
@signed_in
def file(trial: str) -> AnyResponse:
    """The expected visits as a calendar file."""
    return attached(read(lambda unit: visits.feed(unit, trial, site=_site())), f"{trial}-visits.ics", "text/calendar")


def _site() -> str:
    return request.args.get("site", "")


def _month(today: date) -> date:
    """The first day of the month that was asked for; of this one where none was. Raises Invalid."""
    asked = request.args.get("month", "").strip()
    try:
        found = date.fromisoformat(f"{asked}-01") if asked else today.replace(day=1)
    except ValueError:
        raise Invalid(f"'{asked}' is not a month.", code="HTTP.MONTH", needs="A month such as 2026-03.") from None
    if not 1900 < found.year < 2200:
        raise Invalid(f"There is nothing to show of {found.year}.", code="HTTP.MONTH", needs="A month of the trial.")
    return found


def _following(first: date) -> date:
    """The first day of the month after."""
    return (first + timedelta(days=31)).replace(day=1)


def _weeks(first: date, found: list[Expected]) -> list[list[tuple[date | None, list[Expected]]]]:
    """Weeks from Monday to Sunday; a day with its visits, None for a day of another month."""
    by_day: dict[date, list[Expected]] = {}
    for one in found:
        by_day.setdefault(one.window.target, []).append(one)
    days = [[first.replace(day=number) if number else None for number in week] for week in monthcalendar(first.year, first.month)]
    return [[(day, by_day.get(day, []) if day else []) for day in week] for week in days]

"""Recruitment by site and month against the target, from live data (RP-01). Nothing in it depends on an arm.

The home page shows who was randomised, to everybody who sees the trial.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date
from typing import Any

from sqlalchemy import select

from trialdm.domain import recruitment as rules
from trialdm.domain.protocol import Protocol
from trialdm.services import allocations, casebooks, participants, screening, studies
from trialdm.services.unit import LONDON, Unit
from trialdm.store.tables import Participant, Status


@dataclass(frozen=True)
class Month:
    """One month at one site, or of all sites that the person sees: `month` as 2026-03, cumulative numbers up to its end."""

    month: str
    screened: int
    consented: int
    randomised: int
    total: int
    expected: int


@dataclass(frozen=True)
class Pace:
    """Recruitment of a site (or of all, without a code) against its target, which counts from the day on which it opened."""

    site: str
    name: str
    target: int
    months: tuple[Month, ...]

    @property
    def randomised(self) -> int:
        return self.months[-1].total if self.months else 0

    @property
    def expected(self) -> int:
        return self.months[-1].expected if self.months else 0

    @property
    def rating(self) -> str:
        """A key of `recruitment.RATINGS`; empty where nothing was expected yet."""
        return rules.rating(self.randomised, self.expected)


@dataclass(frozen=True)
class Happened:
    """Days on which participants of a site were screened, consented and randomised."""

    screened: tuple[date, ...] = ()
    consented: tuple[date, ...] = ()
    randomised: tuple[date, ...] = ()


def by_site(unit: Unit, trial: str) -> list[Pace]:
    """The pace of every site that the person may read, by code, sites that never opened left out. Raises Forbidden, and Missing
    where nobody is allocated."""
    protocol = studies.protocol(unit, trial)
    unit.require("report.recruitment", trial)
    seen, happened = unit.sites("report.recruitment", trial), _happened(unit, protocol)
    opened = _opened(unit, trial)
    sites = [site for site in protocol.sites if (seen is None or site.code in seen) and (site.code in opened or site.code in happened)]
    return [_pace(unit, protocol, site.code, site.name, site.target, happened[site.code], opened.get(site.code)) for site in sites]


def overall(unit: Unit, trial: str) -> Pace | None:
    """The pace of the whole trial from its opening; None for somebody who reads one site only. Raises as `by_site`."""
    protocol = studies.protocol(unit, trial)
    unit.require("report.recruitment", trial)
    if unit.sites("report.recruitment", trial) is not None:
        return None
    found = _happened(unit, protocol).values()
    everything = Happened(
        tuple(day for one in found for day in one.screened),
        tuple(day for one in found for day in one.consented),
        tuple(day for one in found for day in one.randomised),
    )
    return _pace(unit, protocol, "", protocol.short_title, protocol.target_participants, everything, _opened(unit, trial).get(""))


def randomised(unit: Unit, trial: str) -> Pace:
    """The pace of the whole trial by its randomised participants alone: from its opening, or from the first of them where it never
    opened. Raises Forbidden, and Missing where nobody is allocated."""
    protocol = studies.protocol(unit, trial)
    unit.require("trial.see", trial)
    days = tuple(at.astimezone(LONDON).date() for at in allocations.randomised(unit, protocol).values())
    happened, opened = Happened(randomised=days), _opened(unit, trial).get("", min(days, default=None))
    return _pace(unit, protocol, "", protocol.short_title, protocol.target_participants, happened, opened)


def _pace(unit: Unit, protocol: Protocol, site: str, name: str, target: int, happened: Happened, opened: date | None) -> Pace:
    days = [*happened.screened, *happened.consented, *happened.randomised]
    first = min([day for day in (opened, *days) if day is not None], default=unit.today)
    counted = [_by_month(days) for days in (happened.screened, happened.consented, happened.randomised)]
    months, total = [], 0
    for year, number in _months_between(first, max([unit.today, *days])):
        screened, consented, randomised = (count[(year, number)] for count in counted)
        total += randomised
        elapsed = (year - opened.year) * 12 + number - opened.month + 1 if opened else 0
        by_now = rules.expected(target, protocol.target_months, max(elapsed, 0))
        months.append(Month(f"{year}-{number:02d}", screened, consented, randomised, total, by_now))
    return Pace(site, name, target, tuple(months))


def _months_between(first: date, last: date) -> Iterator[tuple[int, int]]:
    """The months from that of the first day to that of the last, as year and month."""
    year, month = first.year, first.month
    while (year, month) <= (last.year, last.month):
        yield year, month
        year, month = (year + 1, 1) if month == 12 else (year, month + 1)


def _by_month(days: Iterable[date]) -> Counter[tuple[int, int]]:
    return Counter((day.year, day.month) for day in days)


def _opened(unit: Unit, trial: str) -> dict[str, date]:
    """The day on which each site opened first, and under the empty code that of the trial."""
    found: dict[str, date] = {}
    steps = select(Status).where(Status.trial_id == trial, Status.event.in_(("open", "activate"))).order_by(Status.at)
    for row in unit.session.scalars(steps):
        if (row.machine, row.event) in (("trial", "open"), ("site", "activate")):
            found.setdefault(row.subject if row.machine == "site" else "", row.at.astimezone(LONDON).date())
    return found


def _happened(unit: Unit, protocol: Protocol) -> dict[str, Happened]:
    """What happened when, by site. Somebody who is not in the screening log yet counts from the day of being added."""
    trial = protocol.id
    people = list(unit.session.scalars(select(Participant).where(Participant.trial_id == trial)))
    meant = [alive.meaning(name) for alive in studies.alive(unit, trial) for name in ("screened_on", "consent_at")]
    books = casebooks.some_forms(unit, trial, people, {found[0].code for found in meant if found})
    randomised = {ident: at.astimezone(LONDON).date() for ident, at in allocations.randomised(unit, protocol).items()}
    found: dict[str, list[list[date]]] = defaultdict(lambda: [[], [], []])
    for row in people:
        local, book = studies.protocol_at(unit, trial, row.site), books[row.id]
        days = found[row.enrolled_site]
        days[0].append(screening.entry(local, row, book).screened_on or row.added_at.astimezone(LONDON).date())
        days[1] += [at.date() for at, _ in participants.consents(local, book)[:1]]
        days[2] += [randomised[row.id]] if row.id in randomised else []
    return defaultdict(Happened, {site: Happened(*map(tuple, days)) for site, days in found.items()})


def table(paces: Iterable[Pace]) -> list[dict[str, Any]]:
    """The months as rows; the rating is that of the last month."""
    return [
        {
            "site": pace.site,
            **vars(month),
            "target": pace.target,
            "rating": pace.rating if month is pace.months[-1] else "",
        }
        for pace in paces
        for month in pace.months
    ]

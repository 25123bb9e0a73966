"""Governance of the treatment pathway at an organisation: notices, lists of procedures, reviews, appraisals, and the guidance.

Each act adds a dated fact to the register of the study. What is due follows from the facts (`domain/pathway.py`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from trialdm.domain import guidance, pathway
from trialdm.domain.errors import Conflict, Forbidden, Invalid, Missing, Refused, WrongState
from trialdm.domain.ethics import Fact, Register
from trialdm.domain.ethics.clocks import deadlines
from trialdm.domain.ethics.deadline import Deadline
from trialdm.domain.guidance import Guidance
from trialdm.domain.pathway import Month, Notice, Review
from trialdm.domain.protocol import Protocol, Site
from trialdm.services import casebooks, cases, clocks, register
from trialdm.services.cases import require_pathway
from trialdm.services.unit import Unit, needed

#: How much text a minute or an action may hold.
_MOST_TEXT = 2000


# --- the notice to the governance lead -------------------------------------------------------------------------------


def inform(unit: Unit, trial: str, site: str, on: date, words: str) -> int:
    """Record that the clinical governance lead of an organisation was informed, on its true day."""
    _require(unit, "notice.give", trial, site)
    return register.add(
        unit, trial, Fact("governance-notice", on, site, text=_text(words, "how the lead was informed"), person=unit.actor.id)
    )


def confirm(unit: Unit, trial: str, site: str, notice: int, on: date) -> int:
    """The lead's confirmation of a notice. Raises Forbidden for one's own, Conflict for one confirmed before."""
    _require(unit, "notice.confirm", trial, site)
    found = next((n for n in pathway.notices(register.read(unit, trial), site, unit.today) if n.given.entry == notice), None)
    given = needed(found, f"There is no notice {notice} at {site}.", code="PATHWAY.NOTICE")
    if unit.actor.id in (given.given.by, given.given.person):
        raise Forbidden("Nobody confirms their own notice.", code="PATHWAY.OWN_NOTICE", needs="The clinical governance lead.")
    if given.seen is not None:
        raise Conflict(
            f"This notice was confirmed on {given.seen.on.isoformat()}.", code="PATHWAY.CONFIRMED", needs="Nothing: cases can be entered."
        )
    if on < given.given.on:
        raise Invalid("The confirmation is dated before the notice.", code="PATHWAY.ORDER", needs="The day of the notice, or a later one.")
    return register.add(unit, trial, Fact("governance-seen", on, site, about=str(notice), person=unit.actor.id))


# --- everybody is audited --------------------------------------------------------------------------------------------


def list_procedures(unit: Unit, trial: str, site: str, month: str, count: int, source: str) -> int:
    """Record how many procedures an organisation's own list has for a month that has ended; a later list replaces an earlier one."""
    _require(unit, "procedures.record", trial, site)
    try:
        first = pathway.first_day(month)
    except ValueError:
        raise Invalid(f"'{month}' is not a month.", code="PATHWAY.MONTH", needs="A month such as 2026-03.") from None
    if first >= unit.today.replace(day=1):
        raise Refused(f"{month} has not ended.", code="PATHWAY.MONTH", needs="A month that has ended.")
    if not 0 <= count <= 1000:
        raise Invalid("The number of procedures is not between 0 and 1000.", code="PATHWAY.COUNT", needs="A whole number, 0 for none.")
    words = _text(source, "where the number comes from")
    return register.add(unit, trial, Fact("procedures", unit.today, site, about=month, number=count, text=words, person=unit.actor.id))


# --- reviews ---------------------------------------------------------------------------------------------------------


def plan_review(unit: Unit, trial: str, site: str, day: date) -> int:
    """Plan the next review of outcomes and safety, or plan it anew; gives its number."""
    _require(unit, "review.hold", trial, site)
    if day < unit.today:
        raise Refused("A review is planned for a day to come.", code="PATHWAY.PLAN", needs="Today or a later day.")
    number = _current(unit, trial, site)
    register.add(unit, trial, Fact("review-planned", unit.today, site, about=str(number), text=day.isoformat(), person=unit.actor.id))
    return number


def hold_review(unit: Unit, trial: str, site: str, on: date, minutes: str) -> int:
    """Record that a review was held, with its minutes; gives its number."""
    _require(unit, "review.hold", trial, site)
    number = _current(unit, trial, site)
    words = _text(minutes, "the minutes, or where they are kept")
    register.add(unit, trial, Fact("review-held", on, site, about=str(number), text=words, person=unit.actor.id))
    return number


def agree_action(unit: Unit, trial: str, site: str, review: int, words: str) -> int:
    """Record an action that a review agreed on; gives its number within the review."""
    _require(unit, "review.hold", trial, site)
    found = _held(unit, trial, site, review)
    number = len(found.actions) + 1
    text = _text(words, "what was agreed")
    register.add(unit, trial, Fact("review-action", unit.today, site, about=str(review), text=text, number=number, person=unit.actor.id))
    return number


def close_action(unit: Unit, trial: str, site: str, review: int, action: int, words: str) -> None:
    """Record how an action ended. Raises Missing for one that is not there, Conflict for one that is closed."""
    _require(unit, "review.hold", trial, site)
    found = next((a for a in _held(unit, trial, site, review).actions if a.number == action), None)
    if found is None:
        raise Missing(f"Review {review} has no action {action}.", code="PATHWAY.ACTION")
    if found.closed is not None:
        raise Conflict(f"The action was closed on {found.closed.on.isoformat()}.", code="PATHWAY.CLOSED", needs="Nothing.")
    text = _text(words, "how it ended")
    register.add(unit, trial, Fact("review-closed", unit.today, site, about=str(review), text=text, number=action, person=unit.actor.id))


def _current(unit: Unit, trial: str, site: str) -> int:
    """The number of the review that comes next: the one that is planned, or a new one."""
    found = pathway.reviews(register.read(unit, trial), site, unit.today)
    return next((review.number for review in found if review.held is None), len(found) + 1)


def _held(unit: Unit, trial: str, site: str, review: int) -> Review:
    found = next((r for r in pathway.reviews(register.read(unit, trial), site, unit.today) if r.number == review), None)
    held = needed(found, f"There is no review {review} at {site}.", code="PATHWAY.REVIEW")
    if held.held is None:
        raise WrongState(f"Review {review} has not been held.", code="PATHWAY.NOT_HELD", needs="The review held, with its minutes.")
    return held


# --- appraisals ------------------------------------------------------------------------------------------------------


def appraise(unit: Unit, trial: str, site: str, surgeon: int, on: date, words: str) -> int:
    """Record that an operator discussed outcomes at the annual appraisal: the operator's own word, or the lead's."""
    _require(unit, "appraisal.record", trial, site)
    held = next((c for c in register.read(unit, trial).credentials if c.surgeon == surgeon and c.site == site), None)
    person = needed(held, f"No surgeon {surgeon} operates at {site}.", code="PATHWAY.SURGEON").person
    if person != unit.actor.id and not unit.may("review.hold", trial, site):
        raise Forbidden("This is somebody else's appraisal.", code="PATHWAY.OWN_APPRAISAL", needs="The operator, or the governance lead.")
    return register.add(unit, trial, Fact("appraisal", on, site, text=_text(words, "what was discussed"), person=person, number=surgeon))


# --- guidance --------------------------------------------------------------------------------------------------------


def follow(unit: Unit, trial: str, version: str, on: date, reason: str) -> int:
    """Record that another version of the guidance is followed from a day on."""
    protocol = require_pathway(unit, trial)
    unit.require("guidance.change", trial)
    register.lock(unit, trial)
    if version not in guidance.VERSIONS:
        raise Invalid(f"There is no guidance '{version}'.", code="GUIDANCE.UNKNOWN", needs=f"One of: {', '.join(guidance.VERSIONS)}.")
    if guidance.in_use(protocol, register.read(unit, trial), unit.today).id == version:
        raise Conflict(f"{version} is followed already.", code="GUIDANCE.SAME", needs="Another version.")
    return register.add(unit, trial, Fact("guidance", on, about=version, text=_text(reason, "why it changes"), person=unit.actor.id))


@dataclass(frozen=True)
class Followed:
    """The guidance that is followed, since when, and until when pages ask for a re-check."""

    version: Guidance
    changed: Fact | None
    recheck_until: date | None


def followed(unit: Unit, protocol: Protocol) -> Followed:
    """What a study follows today."""
    on_record = register.read(unit, protocol.id)
    changed = guidance.changed(on_record, unit.today)
    days = protocol.param("recheck_days", 90)
    until = changed.on + timedelta(days=days) if changed else None
    return Followed(guidance.in_use(protocol, on_record, unit.today), changed, until if until and until >= unit.today else None)


# --- reading ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Organisation:
    """Everything that the page of an organisation shows."""

    site: Site
    notices: Sequence[Notice]
    months: Sequence[Month]
    reviews: Sequence[Review]
    deadlines: Sequence[Deadline]
    operators: Sequence[tuple[int, str, str]]
    names: dict[str, str]

    @property
    def informed(self) -> bool:
        """Whether a notice was confirmed, so that cases can be entered."""
        return any(notice.seen for notice in self.notices)

    @property
    def unaudited(self) -> int:
        """Procedures without audit entry, over all months."""
        return sum(month.gap for month in self.months)


def organisations(unit: Unit, trial: str) -> list[Site]:
    """The organisations of a study that the person sees."""
    protocol = require_pathway(unit, trial)
    unit.require("case.report", trial)
    seen = unit.sites("case.report", trial)
    return [site for site in protocol.sites if seen is None or site.code in seen]


def organisation(unit: Unit, trial: str, site: str) -> Organisation:
    """One organisation: notices, months, reviews and what is due. Raises Forbidden for another one's."""
    protocol = require_pathway(unit, trial)
    found = protocol.site(site)
    unit.require("case.report", trial, site)
    on_record, audited = register.read(unit, trial), cases.audited(unit, trial)
    return Organisation(
        found,
        pathway.notices(on_record, site, unit.today),
        pathway.months(on_record, audited, site, unit.today),
        pathway.reviews(on_record, site, unit.today),
        [due for due in deadlines(clocks.situation(unit, trial), pathway.CLOCKS) if due.site == site],
        _operators(on_record, site),
        casebooks.names(unit, (fact.person for fact in on_record.facts if fact.person)),
    )


def _operators(on_record: Register, site: str) -> list[tuple[int, str, str]]:
    """The operators of an organisation by number, each with name and account."""
    return sorted({(held.surgeon, held.name, held.person) for held in on_record.credentials if held.site == site})


# --- adding ----------------------------------------------------------------------------------------------------------


def _require(unit: Unit, action: str, trial: str, site: str) -> None:
    """Raises unless the person may add this here; then nobody else adds meanwhile to what the register is about to be read for."""
    require_pathway(unit, trial).site(site)
    unit.require(action, trial, site)
    register.lock(unit, trial)


def _text(given: str, what: str) -> str:
    words = given.strip()
    if not words or len(words) > _MOST_TEXT:
        raise Invalid(f"Say {what}.", code="PATHWAY.WORDS", needs=f"At most {_MOST_TEXT} characters, without names of patients.")
    return words

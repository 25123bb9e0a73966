"""Where a serious adverse event stands, in words and lights; the bands of age of a listing; and how a reported term finds a code."""

from collections.abc import Iterable
from dataclasses import dataclass

from trialdm.domain.protocol import Term

#: State of a serious adverse event -> words, in the order in which it passes them.
STATES = {
    "new": "Awaits the site's assessment",
    "pi_assessed": "Awaits the sponsor's assessment",
    "reportable": "To be reported to the committee",
    "sponsor_assessed": "Assessed",
    "rec_sent": "Reported to the committee",
    "follow_up": "Followed up",
    "closed": "Closed",
}

#: State of a deadline -> light: symbol and word stand beside the colour.
LIGHTS = {
    "overdue": ("red", "■"),
    "late": ("red", "□"),
    "today": ("amber", "▲"),
    "soon": ("amber", "△"),
    "open": ("green", "●"),
    "met": ("green", "✓"),
}

#: Codes of the outcome of an event: over, and going on.
_FINAL, _GOING_ON = frozenset({1, 2, 5}), frozenset({3, 4})

_BANDS = (18, 40, 50, 60, 70, 80)


@dataclass(frozen=True)
class Judgement:
    """What is known of a serious event: whether site and sponsor have assessed it, whether it is to be reported and was, how it ended."""

    site: bool = False
    sponsor: bool = False
    reportable: bool = False
    sent: bool = False
    outcome: int | None = None


def state(known: Judgement) -> str:
    """One of `STATES`. An event is closed once it is over and everything about it has been done."""
    if not known.site:
        return "new"
    if not known.sponsor:
        return "pi_assessed"
    if known.reportable and not known.sent:
        return "reportable"
    if known.outcome in _FINAL:
        return "closed"
    if known.outcome in _GOING_ON:
        return "follow_up"
    return "rec_sent" if known.sent else "sponsor_assessed"


def age_band(years: object) -> str:
    """The band of an age, such as 50-59; empty where it is not known."""
    if not isinstance(years, int):
        return ""
    low = max((start for start in _BANDS if start <= years), default=0)
    following = next((start for start in _BANDS if start > low), None)
    return f"{low} and over" if following is None else f"{low}-{following - 1}" if low else f"under {_BANDS[0]}"


def _plain(text: str) -> str:
    return " ".join("".join(c if c.isalnum() else " " for c in text.casefold()).split())


def suggestions(reported: str, terms: Iterable[Term], most: int = 5) -> list[Term]:
    """Terms that a reported event may be coded by: the same words first, then terms of which one begins with the other."""
    said = _plain(reported)
    if not said:
        return []
    found: list[tuple[int, str, Term]] = []
    for term in terms:
        words = _plain(term.term)
        if words == said:
            found.append((0, words, term))
        elif words.startswith(f"{said} ") or said.startswith(f"{words} "):
            found.append((1, words, term))
        elif words.startswith(said) or (len(words) > 3 and said.startswith(words)):
            found.append((2, words, term))
    return [term for _, _, term in sorted(found, key=lambda one: (one[0], one[1], one[2].code))[:most]]

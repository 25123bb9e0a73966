"""Queries: a question about an answer, or about a form, its answers by the site, and who may close it.

Every act keeps the value in question as it stood, so that an answer is compared with the data and not with what it says:
`corrected` needs another value, and `confirmed` holds for the value that was confirmed and no other.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from statistics import median

from trialdm.domain import identifiers, lifecycle
from trialdm.domain.errors import Forbidden, Invalid

#: Who asked.
ORIGINS = {"person": "Data management", "monitor": "Monitor", "rule": "Edit check"}

#: What an answer says about the data.
RESPONSES = {
    "corrected": "Corrected: the answer has been changed",
    "confirmed": "Confirmed: the answer is right as it stands",
    "unavailable": "Unavailable: it cannot be obtained",
}

#: act -> what it is called on pages, in the trail and in files.
ACTS = {
    "open": "Asked",
    "answer": "Answered",
    "close": "Closed",
    "reopen": "Asked again",
    "cancel": "Cancelled",
    "settle": "Closed by the system",
}

#: States in which the site is asked, and in which a query is not done with.
WAITING = ("open", "reopened")
UNSETTLED = ("open", "reopened", "answered")

#: Age in days from the asking -> first and last day of the band (None: without end).
BANDS: dict[str, tuple[int, int | None]] = {"0-7": (0, 7), "8-14": (8, 14), "15-30": (15, 30), "31-60": (31, 60), "over-60": (61, None)}

#: Restricted queries have numbers of their own, so that a gap in the numbers tells a blinded reader nothing.
FIRST_RESTRICTED = 1_000_001

LONGEST = 2000

#: Whoever acts where nobody does: a check that fires no more, an answer that changed after it was confirmed.
NOBODY = "system"


@dataclass(frozen=True)
class Act:
    """One act of a query: `value` is what was in question as it stood then, `version` that of the form (0: not saved)."""

    act: str
    by: str
    response: str = ""
    value: str = ""
    version: int = 0


def name(number: int) -> str:
    """A number as people say it: `Q12`, or `R3` of a restricted one."""
    return f"R{number - FIRST_RESTRICTED + 1}" if number >= FIRST_RESTRICTED else f"Q{number}"


def number(typed: str) -> int | None:
    """The number behind a name, or behind digits alone; None where it is neither."""
    letter, digits = ("Q", typed) if typed[:1].isdigit() else (typed[:1].upper(), typed[1:])
    if letter in ("Q", "R") and digits.isascii() and digits.isdigit() and len(digits) < 9:
        return int(digits) + (FIRST_RESTRICTED - 1 if letter == "R" else 0)
    return None


def band(days: int) -> str:
    """The band of an age in days."""
    return next(band for band, (_, last) in BANDS.items() if last is None or days <= last)


def words(text: str, *, needed: str = "") -> str:
    """What somebody wrote, without the blanks around it. Raises Invalid for an identifier, for too much, or for nothing where
    `needed` says what is."""
    said = text.strip()
    if needed and not any(sign.isalnum() for sign in said):
        raise Invalid(needed, code="QUERY.WORDS", needs="A sentence in words.")
    if len(said) > LONGEST:
        raise Invalid(f"At most {LONGEST} characters are kept; this has {len(said)}.", code="QUERY.WORDS", needs="A shorter text.")
    identifiers.require_none(said, "text")
    return said


# --- acts ------------------------------------------------------------------------------------------------------------


def require_answer(acts: Sequence[Act], response: str, value: str, version: int, *, whole: bool) -> None:
    """Raises Invalid for an unknown response, and where an answer is called corrected while the data are as they were.

    A query about a `whole` form is answered by a newer version of it, one about an answer by another value.
    """
    if response not in RESPONSES:
        raise Invalid(f"'{response}' is no response.", code="QUERY.RESPONSE", needs=f"One of: {', '.join(RESPONSES)}.")
    asked = next(act for act in reversed(acts) if act.act in ("open", "reopen"))
    changed = version > asked.version if whole else value != asked.value
    if response == "corrected" and not changed:
        what = "The form has not been saved" if whole else "The answer has not been changed"
        raise Invalid(
            f"{what} since this was asked.", code="QUERY.UNCHANGED", needs="Correct the form first, or confirm what stands there."
        )


def require_closing(acts: Iterable[Act], origin: str, held: Collection[str], person: str, *, act: str = "close") -> None:
    """Raises Forbidden unless somebody with these roles at the place may close (or reopen) a query of this origin.

    A principal investigator closes nothing on their own site's data, and nobody what they have answered themselves.
    """
    if "principal-investigator" in held:
        raise Forbidden("A principal investigator closes no query.", code="QUERY.OWN_SITE", needs="A data manager.")
    if not {"data-manager", "unblinded-data-manager"} & set(held) and not ("monitor" in held and origin == "monitor"):
        raise Forbidden("A monitor closes the queries of monitors only.", code="QUERY.ORIGIN", needs="A data manager.")
    if act == "close":
        _require_another(acts, person, "closes")


def require_cancelling(acts: Sequence[Act], held: Collection[str], person: str) -> None:
    """Raises Forbidden unless the person asked, or is a data manager, and has not answered it."""
    if acts[0].by != person and not {"data-manager", "unblinded-data-manager"} & set(held):
        raise Forbidden("Only who asked, or a data manager, cancels a query.", code="QUERY.CANCEL", needs="A data manager.")
    _require_another(acts, person, "cancels")


def _require_another(acts: Iterable[Act], person: str, does: str) -> None:
    """Raises Forbidden for who has answered a query: nobody is done with their own answer."""
    if any(one.act == "answer" and one.by == person for one in acts):
        raise Forbidden(f"You have answered this query: somebody else {does} it.", code="QUERY.OWN_ANSWER", needs="Another data manager.")


# --- what follows from the data --------------------------------------------------------------------------------------


def outdated(acts: Sequence[Act], state: str, value: str) -> bool:
    """Whether an answer that was confirmed is another one now, so that the query opens again."""
    answer = next((act for act in reversed(acts) if act.act == "answer"), None)
    if state not in ("answered", "closed") or answer is None or acts[-1].act == "settle":
        return False
    return answer.response == "confirmed" and answer.value != value


def asked_before(newest: Act, state: str, value: str) -> bool:
    """Whether a check need not ask again: it is being asked, or somebody was done with it for this very value."""
    return state in UNSETTLED or (newest.act in ("close", "cancel") and newest.value == value)


def moved(state: str, act: str) -> str:
    """The state after an act. Raises WrongState."""
    return lifecycle.move("query", state, act)


# --- figures ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Ageing:
    """Queries of one site or form (RP-04): how many in each band of age, and the median of the days to closing."""

    key: str
    bands: dict[str, int]
    closed: int
    median: float | None

    @property
    def total(self) -> int:
        """How many are not done with."""
        return sum(self.bands.values())


def ageing(key: str, queries: Iterable[tuple[str, int]]) -> Ageing:
    """The figures of queries that are given as state and age in days (until closing, where they are closed)."""
    bands, closed = dict.fromkeys(BANDS, 0), []
    for state, days in queries:
        if state in UNSETTLED:
            bands[band(days)] += 1
        elif state == "closed":
            closed.append(days)
    return Ageing(key, bands, len(closed), median(closed) if closed else None)

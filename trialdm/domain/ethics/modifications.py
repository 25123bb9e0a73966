"""Modifications of an approved study: how they are classified, how they are decided, and when each site may act on one.

Since 28 April 2026 an amendment is called a modification: substantial, of an important detail, or minor. The class that the
older form asks for and the category of the sites are kept beside it. Sources: HRA, approvals of non-CTIMP modifications;
HRA, examples of modifications; IRAS help on categories of sites.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date

from trialdm.domain.errors import WrongState
from trialdm.domain.ethics.dates import add_days

#: Classes, from the heaviest.
CLASSES = {"substantial": "substantial", "important_detail": "of an important detail", "minor": "minor"}

#: Classes that the older form asks for.
LEGACY_CLASSES = {"substantial": "substantial amendment", "non_substantial": "non-substantial amendment"}

#: Categories: which sites a modification has implications for, and whether they have days to object.
CATEGORIES = {
    "A": "all sites: they have days to object",
    "B": "some sites: those have days to object",
    "C": "no site needs to consider it",
}

#: Categories for which a site has days to object (GOV-24).
WAITS = frozenset({"A", "B"})

#: What a modification may change -> (words, the class that it usually has: HRA, examples of modifications).
CHANGES: Mapping[str, tuple[str, str]] = {
    "halt": ("a temporary halt", "substantial"),
    "restart": ("the restart after a temporary halt", "substantial"),
    "participant_information": ("the information sheet or consent form, significantly", "substantial"),
    "incapacity": ("including adults who lack capacity", "substantial"),
    "insurance": ("insurance or indemnity", "substantial"),
    "chief_investigator": ("the chief investigator", "substantial"),
    "objective": ("the main objective", "substantial"),
    "end_points": ("primary or secondary end points", "substantial"),
    "arm": ("a new arm", "substantial"),
    "eligibility": ("eligibility, significantly", "substantial"),
    "sample_size": ("the number of participants", "important_detail"),
    "site": ("adding or closing a site", "important_detail"),
    "end_date": ("the planned end", "important_detail"),
    "data_collection": ("forms or visits, without a new burden or risk", "minor"),
    "contact_details": ("contact details", "minor"),
    "wording": ("corrections of wording", "minor"),
}

_WEIGHT = {name: weight for weight, name in enumerate(CLASSES)}

#: event -> (states that it may leave, state that it reaches); a minor one needs no committee.
STEPS: Mapping[str, tuple[tuple[str, ...], str]] = {
    "submit": (("classified",), "submitted"),
    "validate": (("submitted",), "valid"),
    "ask": (("valid",), "further_information"),
    "answer": (("further_information",), "answered"),
    "favourable": (("valid", "answered"), "favourable"),
    "unfavourable": (("valid", "answered"), "unfavourable"),
    "acknowledge": (("submitted", "classified"), "acknowledged"),
    "withdraw": (("classified", "submitted", "valid", "further_information", "answered"), "withdrawn"),
}

#: What happens at one site: event -> (states that it may leave, state that it reaches).
SITE_STEPS: Mapping[str, tuple[tuple[str, ...], str]] = {
    "notify": (("not_told",), "notified"),
    "agree": (("notified", "objected"), "agreed"),
    "object": (("notified",), "objected"),
    "implement": (("not_told", "notified", "agreed"), "implemented"),
}

#: Steps for people.
STEP_NAMES = {
    "submit": "Submitted",
    "validate": "Found valid",
    "ask": "Further information requested",
    "answer": "Request answered",
    "favourable": "Favourable opinion",
    "unfavourable": "Unfavourable opinion",
    "acknowledge": "Acknowledged; no opinion is needed",
    "withdraw": "Withdrawn",
    "notify": "Site told",
    "agree": "Site agrees",
    "object": "Site objects",
    "implement": "Put into practice at the site",
}


@dataclass(frozen=True)
class Step:
    """Something that happened to a modification on a day: as a whole, or at one site."""

    event: str
    on: date
    site: str = ""
    evidence: str = ""
    note: str = ""


@dataclass(frozen=True)
class Modification:
    """A change to the approved study. `tool` is the digest of the Modification Tool's output, `proposes` the protocol version.

    `documents` are (kind, code) of the versions that come with it.
    """

    ref: str
    title: str
    changes: tuple[str, ...]
    kind: str
    category: str
    created_on: date
    legacy: str = ""
    justification: str = ""
    tool: str = ""
    proposes: str = ""
    documents: tuple[tuple[str, int], ...] = ()
    steps: tuple[Step, ...] = ()
    entry: int = 0

    def state(self, on: date) -> str:
        """Its state at the end of a day."""
        return _fold("classified", STEPS, [s for s in self.steps if not s.site and s.on <= on])

    def site_state(self, site: str, on: date) -> str:
        """Its state at a site at the end of a day."""
        return _fold("not_told", SITE_STEPS, [s for s in self.steps if s.site == site and s.on <= on])

    def when(self, event: str, site: str = "") -> date | None:
        """The day of the newest such step."""
        return max((s.on for s in self.steps if s.event == event and s.site == site), default=None)

    def approved(self, on: date) -> bool:
        """Whether it may be acted on as far as the committee goes: a minor one needs no opinion, only none against it (GOV-22)."""
        if self.kind == "minor":
            return self.state(on) not in ("unfavourable", "withdrawn")
        return self.state(on) == "favourable" or (self.kind != "substantial" and self.state(on) == "acknowledged")

    @property
    def approved_from(self) -> date | None:
        """The day from which it may be acted on as far as the committee goes, or None while it may not."""
        days = (*(s.on for s in self.steps if not s.site), self.created_on)
        return min((day for day in days if self.approved(day)), default=None) if self.approved(date.max) else None

    def free_at(self, site: str, objection_days: int) -> date | None:
        """The first day on which a site may act on it: its agreement, or the end of its days to object (GOV-24)."""
        if self.category not in WAITS:
            return self.created_on
        agreed, told, objected = (self.when(event, site) for event in ("agree", "notify", "object"))
        if agreed and not (objected and objected > agreed):
            return agreed
        return None if objected or told is None else add_days(told, objection_days)


def _fold(state: str, steps: Mapping[str, tuple[tuple[str, ...], str]], taken: list[Step]) -> str:
    for step in taken:
        state = steps[step.event][1]
    return state


def check_step(modification: Modification, step: Step, objection_days: int) -> None:
    """Raises WrongState unless the step leads on from where the modification stands, on a day from the step before on.

    A substantial one is decided by an opinion, never acknowledged. A site objects within its days (GOV-24).
    """
    table = SITE_STEPS if step.site else STEPS
    if step.event not in table:
        raise WrongState(f"There is no step '{step.event}' here.", code="STATE.MODIFICATION", needs=f"One of: {', '.join(table)}.")
    at = modification.site_state(step.site, date.max) if step.site else modification.state(date.max)
    if step.event not in next_steps(modification, date.max, step.site):
        where = f" at site {step.site}" if step.site else ""
        opinion = at in table[step.event][0]
        raise WrongState(
            f"Modification {modification.ref} is {'substantial' if opinion else at.replace('_', ' ')}{where}: "
            f"'{step.event}' does not lead on from there.",
            code="STATE.MODIFICATION",
            needs="The committee's opinion of it."
            if opinion
            else f"It needs to be {' or '.join(s.replace('_', ' ') for s in table[step.event][0])} first.",
        )
    last = max((s.on for s in modification.steps if s.site == step.site), default=modification.created_on)
    if step.on < last:
        raise WrongState(
            f"The step before was on {last.isoformat()}: this one cannot be on {step.on.isoformat()}.",
            code="STATE.MODIFICATION",
            needs="A day from then on.",
        )
    free = modification.free_at(step.site, objection_days) if step.event == "object" and modification.category in WAITS else None
    if free is not None and step.on >= free:
        raise WrongState(
            f"The days of site {step.site} to object to modification {modification.ref} were over on {free.isoformat()}.",
            code="GATE.GOV-24",
            needs=f"An objection that the site made before {free.isoformat()}, with its day.",
        )


def next_steps(modification: Modification, on: date, site: str = "") -> list[str]:
    """The steps that lead on from where it stands on a day: of the whole, or at a site."""
    table, at = (SITE_STEPS, modification.site_state(site, on)) if site else (STEPS, modification.state(on))
    decided = modification.kind == "substantial"
    return [event for event, (sources, _) in table.items() if at in sources and not (decided and event == "acknowledge")]


def suggested(changes: tuple[str, ...]) -> str:
    """The class that these changes usually have: the heaviest of them (HRA, examples of modifications)."""
    return min((CHANGES[change][1] for change in changes if change in CHANGES), key=_WEIGHT.__getitem__, default="minor")


def lighter(kind: str, than: str) -> bool:
    """Whether a class weighs less than another."""
    return _WEIGHT[kind] > _WEIGHT[than]

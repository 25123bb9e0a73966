"""The register: approvals, documents, delegation, training, credentials, modifications and dated facts, as of any day.

Everything in it is a row that was recorded once and is never changed: a later row supersedes, revokes or checks an earlier
one. Days are days in Europe/London.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date

from trialdm.domain.ethics.dates import add_days, add_months
from trialdm.domain.ethics.modifications import WAITS, Modification
from trialdm.domain.protocol import NATIONS, Site

_ASKED = ("submitted", "granted", "refused", "withdrawn", "suspended")

#: Bodies that approve, with the statuses that each can give; the first of each tuple of good ones stand in `GOOD`.
BODIES: Mapping[str, tuple[str, ...]] = {
    "rec": (
        "not_submitted",
        "submitted",
        "valid",
        "further_information",
        "favourable",
        "favourable_with_conditions",
        "unfavourable",
        "withdrawn",
        "suspended",
    ),
    "hra_hcrw": _ASKED,
    "nrs": _ASKED,
    "hsc": _ASKED,
    "mhra": _ASKED,
    "cag": ("submitted", "supported", "refused", "withdrawn"),
    "registry": ("registered", "withdrawn"),
    "insurance": ("in_force", "withdrawn"),
    "dpia": ("signed", "withdrawn"),
    "sponsor": ("confirmed", "withdrawn"),
    "sap": ("signed", "withdrawn"),
    "dmc": ("continue", "pause", "stop"),
    "tsc": ("continue", "pause", "stop"),
    "coenrolment": ("agreed", "refused", "withdrawn"),
    "site_cc": ("confirmed", "refused", "withdrawn", "suspended"),
    "site_siv": ("held", "cancelled"),
    "site_greenlight": ("granted", "withdrawn", "suspended"),
}

#: Names of the bodies for people.
BODY_NAMES = {
    "rec": "Research ethics committee",
    "hra_hcrw": "HRA and HCRW approval (England and Wales)",
    "nrs": "NHS Scotland permission",
    "hsc": "HSC permission (Northern Ireland)",
    "mhra": "MHRA authorisation",
    "cag": "Confidentiality Advisory Group",
    "registry": "Registration",
    "insurance": "Insurance or indemnity",
    "dpia": "Data protection impact assessment",
    "sponsor": "Sponsor",
    "sap": "Statistical analysis plan",
    "dmc": "Data monitoring committee",
    "tsc": "Trial steering committee",
    "coenrolment": "Co-enrolment agreement",
    "site_cc": "Capacity and capability",
    "site_siv": "Site initiation visit",
    "site_greenlight": "Green light",
}

#: Statuses by which an approval stands.
GOOD = frozenset(
    "favourable favourable_with_conditions granted registered in_force signed confirmed held agreed supported continue".split()
)

#: Bodies whose approval covers one site.
SITE_BODIES = frozenset({"site_cc", "site_siv", "site_greenlight"})

#: Bodies whose good decision counts only once a second person has checked it.
TWO_PERSON = frozenset({"rec", "site_greenlight"})

#: Bodies that decide again and again, so that several good decisions stand beside each other.
MANY = frozenset({"dmc", "tsc", "coenrolment"})

#: The body whose permission each nation needs beside the ethics opinion, and its name.
NATIONAL_BODY = {
    "ENG": ("hra_hcrw", "HRA and HCRW approval"),
    "WAL": ("hra_hcrw", "HRA and HCRW approval"),
    "SCO": ("nrs", "NHS Scotland management permission"),
    "NIR": ("hsc", "HSC permission"),
}

#: What an ethics opinion may cover beyond adults who consent for themselves.
COVERS = {
    "incapacity": "adults who lack capacity, England and Wales (Mental Capacity Act 2005, sections 30 to 33)",
    "incapacity_scotland": "adults with incapacity, Scotland (Adults with Incapacity (Scotland) Act 2000, section 51)",
}

DOCUMENT_KINDS = ("PROTOCOL", "PIS", "ICF", "GP", "QUESTIONNAIRE")

DOCUMENT_NAMES = {
    "PROTOCOL": "Protocol",
    "PIS": "Information sheet",
    "ICF": "Consent form",
    "GP": "Letter to the GP",
    "QUESTIONNAIRE": "Questionnaires",
}

#: Kinds of training.
TRAININGS = {"gcp": "good clinical practice", "protocol": "the protocol", "system": "this system"}

#: Dated facts that rules count from.
FACTS = {
    "usm": "An urgent safety measure was taken",
    "identity-breach": "Somebody's identity became known",
    "done": "A deadline was met",
    "governance-notice": "The clinical governance lead was informed",
    "governance-seen": "The clinical governance lead confirmed the notice",
    "procedures": "Procedures done in a month, from the theatre list",
    "review-planned": "A review of outcomes was planned",
    "review-held": "A review of outcomes was held",
    "review-action": "An action was agreed at a review",
    "review-closed": "An action was closed",
    "appraisal": "Outcomes were discussed at an annual appraisal",
    "guidance": "The guidance that is followed changed",
}


@dataclass(frozen=True)
class Condition:
    """A condition of an approval; one that must be met before the start blocks until there is evidence."""

    text: str
    pre_start: bool = False
    met_on: date | None = None
    evidence: str = ""

    def met(self, on: date) -> bool:
        """Whether there was evidence by that day."""
        return bool(self.evidence) and self.met_on is not None and self.met_on <= on


@dataclass(frozen=True)
class Approval:
    """One decision of one body, in force from a day. A later row supersedes an earlier one.

    `letter` is the name of the letter and `sha256` its digest; `supersedes` the reference that this decision replaces;
    `covers` what it allows beyond the usual (`COVERS`); `entry` its number in the register.
    """

    body: str
    status: str
    ref: str = ""
    nations: tuple[str, ...] = ()
    site: str = ""
    submitted_on: date | None = None
    valid_on: date | None = None
    decided_on: date | None = None
    effective_from: date | None = None
    effective_to: date | None = None
    agreement_signed_on: date | None = None
    conditions: tuple[Condition, ...] = ()
    recorded_by: str = ""
    second_check_by: str = ""
    letter: str = ""
    sha256: str = ""
    supersedes: str = ""
    covers: tuple[str, ...] = ()
    entry: int = 0

    @property
    def starts(self) -> date | None:
        """The first day of this status. What only has been asked for stands from that day; a good decision never does."""
        return self.effective_from or self.decided_on or (None if self.status in GOOD else self.submitted_on)

    @property
    def decided(self) -> bool:
        """Whether it is a decision, and not only asked for."""
        return self.effective_from is not None or self.decided_on is not None

    @property
    def waits_for_check(self) -> bool:
        """Whether it counts only once a second person has checked it, and nobody has."""
        needs = self.body in TWO_PERSON and self.status in GOOD
        return needs and (not self.second_check_by or self.second_check_by == self.recorded_by)


@dataclass(frozen=True)
class Document:
    """A version of a document. `sites` names the day on which a site takes it up, where that differs.

    `reconsent` says what those who consented on an earlier version do: nothing, or consent again (`warn`, `block`).
    """

    kind: str
    code: int
    version: str
    dated: date
    approved_on: date | None
    effective_from: date
    superseded_on: date | None = None
    nations: tuple[str, ...] = tuple(NATIONS)
    sites: Mapping[str, date] = field(default_factory=dict)
    revoked_on: date | None = None
    modification: str = ""
    reconsent: str = ""
    file: str = ""
    sha256: str = ""
    entry: int = 0

    @property
    def title(self) -> str:
        return f"{self.kind} v{self.version} ({self.dated.isoformat()})"


@dataclass(frozen=True)
class Delegation:
    """A line of the delegation log: what a person may do at a site (all sites where empty), from when to when.

    It counts from the day on which both the person and the principal investigator had signed it. `ended_on` is the day on which
    somebody ended it: the first on which it counts no more, though it counted for a part of it.
    """

    person: str
    site: str
    tasks: frozenset[str]
    start: date
    end: date | None = None
    signed_on: date | None = None
    countersigned_on: date | None = None
    line: str = ""
    ended_on: date | None = None

    @property
    def signed(self) -> bool:
        return self.signed_on is not None and self.countersigned_on is not None

    def covers(self, person: str, site: str, task: str, on: date) -> bool:
        """Whether this line allows the task there on that day."""
        here = self.person == person and self.site in ("", site) and task in self.tasks
        if not here or self.signed_on is None or self.countersigned_on is None:
            return False
        return max(self.start, self.signed_on, self.countersigned_on) <= on and (self.end is None or on <= self.end)


@dataclass(frozen=True)
class Training:
    person: str
    kind: str
    on: date
    valid_to: date | None = None


@dataclass(frozen=True)
class Credential:
    """A surgeon's credential for the procedure: number used in forms, cases so far, days of validity."""

    surgeon: int
    person: str
    name: str
    site: str
    valid_from: date
    valid_to: date | None
    cases: int


@dataclass(frozen=True)
class Fact:
    """Something that happened on a day and that rules count from (`FACTS`).

    `about` names what it is about: the key of a deadline, a month such as 2026-03, the number of a review. `person` is an
    account; `number` a count; `evidence` the digest of a file.
    """

    kind: str
    on: date
    site: str = ""
    about: str = ""
    text: str = ""
    person: str = ""
    number: int = 0
    evidence: str = ""
    entry: int = 0
    by: str = ""


@dataclass(frozen=True)
class Register:
    """Everything on record that the gate looks at, in the order of recording, and the days that a site has to object (GOV-24)."""

    approvals: tuple[Approval, ...] = ()
    documents: tuple[Document, ...] = ()
    delegations: tuple[Delegation, ...] = ()
    trainings: tuple[Training, ...] = ()
    credentials: tuple[Credential, ...] = ()
    modifications: tuple[Modification, ...] = ()
    facts: tuple[Fact, ...] = ()
    objection_days: int = 35

    # --- approvals ---------------------------------------------------------------------------------------------------

    def decisions(self, body: str, on: date, *, nation: str = "", site: str = "") -> list[Approval]:
        """The rows of a body that had begun by that day, the newest last."""
        rows = [
            (approval.starts, order, approval)
            for order, approval in enumerate(self.approvals)
            if approval.body == body
            and approval.starts is not None
            and approval.starts <= on
            and (not approval.nations or not nation or nation in approval.nations)
            and approval.site == site
        ]
        return [approval for _, _, approval in sorted(rows, key=lambda row: row[:2])]

    def latest(self, body: str, on: date, *, nation: str = "", site: str = "") -> Approval | None:
        """The newest row of a body that has begun by that day, in force or not."""
        rows = self.decisions(body, on, nation=nation, site=site)
        return rows[-1] if rows else None

    def standing(self, body: str, on: date, *, nation: str = "", site: str = "") -> Approval | None:
        """The approval in force on that day, or None. What waits for a decision, or for a second person's check, is passed over."""
        decided = [a for a in self.decisions(body, on, nation=nation, site=site) if a.decided and not a.waits_for_check]
        newest = decided[-1] if decided else None
        if newest is None or newest.status not in GOOD:
            return None
        return None if newest.effective_to and newest.effective_to < on else newest

    def overlapping(self, new: Approval) -> Approval | None:
        """A good decision of the same body under another reference whose days meet those of a new one that does not replace it."""
        if new.status not in GOOD or new.body in MANY or new.starts is None:
            return None
        for old in reversed(self.approvals):
            same = (
                old.body == new.body
                and old.site == new.site
                and (not old.nations or not new.nations or set(old.nations) & set(new.nations))
            )
            if not same or old.starts is None:
                continue
            if old.status not in GOOD or old.ref == new.ref or new.supersedes == old.ref:
                return None
            ends = old.effective_to
            return old if (ends is None or new.starts <= ends) and (new.effective_to is None or old.starts <= new.effective_to) else None
        return None

    # --- documents ---------------------------------------------------------------------------------------------------

    def modification(self, ref: str) -> Modification | None:
        """The modification of this reference."""
        return next((m for m in self.modifications if m.ref == ref), None)

    def came_with(self, document: Document) -> Modification | None:
        """The modification that a document came with: it names the modification, or the modification names it."""
        named = (document.kind, document.code)
        return next((m for m in self.modifications if m.ref == document.modification or named in m.documents), None)

    def starts_at(self, document: Document, site: Site) -> date | None:
        """The day from which a version is used at a site, or None where it is not known yet.

        A day of the site's own stands. Otherwise a version that came with a modification of category A or B waits until the
        site agreed or had its days to object (GOV-24).
        """
        if site.code in document.sites:
            return document.sites[site.code]
        came_with = self.came_with(document)
        if came_with is None or came_with.category not in WAITS:
            return document.effective_from
        free = came_with.free_at(site.code, self.objection_days)
        return max(free, document.effective_from) if free else None

    def approved_on(self, document: Document) -> date | None:
        """The day of its approval: its own, or that of the modification that it came with; the later one where it has both."""
        came_with = self.came_with(document)
        if came_with is None:
            return document.approved_on
        approved = came_with.approved_from
        return approved and max(approved, document.approved_on or approved)

    def in_use(self, kind: str, site: Site, on: date) -> list[tuple[date, Document]]:
        """The versions of a document that a site had taken up by a day and that are not revoked, each with its first day."""
        here = [(self.starts_at(d, site), d) for d in self.documents if d.kind == kind and site.nation in d.nations]
        begun = [
            (first, document)
            for first, document in here
            if (approved := self.approved_on(document)) is not None and approved <= on and first is not None and first <= on
        ]
        usable = [(first, document) for first, document in begun if document.revoked_on is None or document.revoked_on > on]
        return sorted(usable, key=lambda row: (row[0], row[1].code))

    def current_document(self, kind: str, site: Site, on: date) -> Document | None:
        """The version of a document that is to be used at a site on a day."""
        versions = self.in_use(kind, site, on)
        newest = versions[-1][1] if versions else None
        if newest and newest.superseded_on and newest.superseded_on <= on:
            later = [d for d in self.documents if d.kind == kind and site.nation in d.nations and d.code > newest.code]
            waits = any((first := self.starts_at(d, site)) is None or first > on for d in later)
            return newest if waits else None
        return newest

    def document(self, kind: str, code: int) -> Document | None:
        """The document of a kind with this code."""
        return next((d for d in self.documents if d.kind == kind and d.code == code), None)

    # --- people ------------------------------------------------------------------------------------------------------

    def delegated(self, person: str, site: str, task: str, on: date) -> bool:
        """Whether a signed line of the log lets the person do the task there on that day."""
        return any(line.covers(person, site, task, on) for line in self.delegations)

    def delegated_then(self, person: str, site: str, task: str, on: date) -> bool:
        """Whether a line let the person do the task there during some part of that day: for what was done, and not for what will be."""
        ended = [line for line in self.delegations if line.ended_on == on]
        return self.delegated(person, site, task, on) or any(line.covers(person, site, task, add_days(on, -1)) for line in ended)

    def who_could(self, task: str, site: str, on: date) -> list[str]:
        """Everybody whom the log let do a task at a site on a day."""
        return list(dict.fromkeys(line.person for line in self.delegations if line.covers(line.person, site, task, on)))

    def trained(self, person: str, kind: str, on: date) -> bool:
        """Whether a training of this kind is on record and has not run out by that day."""
        return any(
            t.person == person and t.kind == kind and t.on <= on and (t.valid_to is None or on <= t.valid_to) for t in self.trainings
        )

    def trained_until(self, person: str, kind: str, on: date, months: int) -> date | None:
        """The last day of the newest training of a kind under an interval in months; None without one."""
        ends = [
            min(filter(None, (t.valid_to, add_days(add_months(t.on, months), -1))))
            for t in self.trainings
            if t.person == person and t.kind == kind and t.on <= on
        ]
        return max(ends, default=None)

    def credential(self, surgeon: int, on: date, *, site: str = "") -> Credential | None:
        """The surgeon's credential valid on that day at that site, or at any site where none is named."""
        held = (c for c in reversed(self.credentials) if c.surgeon == surgeon and site in ("", c.site))
        return next((c for c in held if c.valid_from <= on and (c.valid_to is None or on <= c.valid_to)), None)

    # --- facts -------------------------------------------------------------------------------------------------------

    def of(self, kind: str, on: date, *, site: str = "", about: str = "") -> list[Fact]:
        """Facts of a kind by that day, the newest last."""
        found = (f for f in self.facts if f.kind == kind and f.on <= on and site in ("", f.site) and about in ("", f.about))
        return sorted(found, key=lambda fact: fact.on)

    def done(self, deadline: str, on: date) -> date | None:
        """The day on which a deadline was recorded as met, by that day."""
        found = self.of("done", on, about=deadline)
        return found[0].on if found else None

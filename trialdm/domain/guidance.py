"""The guidance on TMR as versions: what each asks for, where it stands, what it calls things, and what differs between two.

The sentences are ours, not NICE's. A paragraph whose number has not been compared with the published text has none. Sources:
NICE interventional procedures consultation document (January 2025, draft); NICE IPG804 (final), as far as it is known here.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date

from trialdm.domain.ethics.register import Fact, Register
from trialdm.domain.protocol import Protocol


@dataclass(frozen=True)
class Paragraph:
    """What a paragraph asks for, in our words."""

    number: str
    words: str


@dataclass(frozen=True)
class Guidance:
    """A version of the guidance. `terms` are its words for what this platform names; `paragraphs` what it asks for, by topic."""

    id: str
    title: str
    status: str
    published: str
    terms: Mapping[str, str]
    paragraphs: Mapping[str, Paragraph]

    @property
    def final(self) -> bool:
        return self.status == "final"


#: Topics of the paragraphs, in the order in which they are shown.
TOPICS: Mapping[str, str] = {
    "special": "Treatment under special arrangements",
    "lead": "Clinical governance lead",
    "information": "Information and uncertainty",
    "decision": "Shared decision",
    "team": "Selection by a multidisciplinary team",
    "audit": "Audit of everyone",
    "appraisal": "Annual appraisal",
    "systems": "Systems of the organisation",
    "review": "Regular review",
    "prevention": "Prevention",
    "research-only": "Prevention in research only",
    "research": "Research that is needed",
    "trials": "Randomised trials preferred",
    "surgeon": "Experience of the surgeon",
}

#: What a version may call differently.
TERMS = {"treat": "To treat pain that has developed", "prevent": "To prevent pain", "pain": "The pain"}

_SHARED = {
    "lead": Paragraph("1.2", "Clinicians inform the clinical governance leads of their organisation."),
    "information": Paragraph("1.2", "The person, and family and carers as appropriate, understand safety, efficacy and uncertainty."),
    "decision": Paragraph("1.2", "Advice on shared decision making and the information for the public are taken into account."),
    "audit": Paragraph("1.2", "Outcomes of everyone who has the procedure are audited and reviewed."),
    "appraisal": Paragraph("1.2", "Clinicians discuss outcomes at their annual appraisal."),
    "systems": Paragraph("1.3", "Organisations have systems by which data on everyone are collected and reported."),
    "review": Paragraph("1.3", "Organisations regularly review outcomes and safety."),
}

CONSULTATION = Guidance(
    "consultation-2025",
    "Consultation document on targeted muscle reinnervation, 2025",
    "draft",
    "January 2025",
    {"treat": "to treat", "prevent": "to prevent", "pain": "intractable pain"},
    {
        "special": Paragraph("1.1", "It may be used to treat intractable pain, with special arrangements."),
        **_SHARED,
        "prevention": Paragraph("1.4", "More research is needed before it is used to prevent intractable pain."),
        "research-only": Paragraph("1.5", "To prevent pain it is done only in a formal study that an ethics committee has approved."),
        "research": Paragraph("1.6", "Selection, technique, reintervention, and outcomes in the short and long term."),
        "trials": Paragraph("1.6", "Research is preferably a randomised controlled trial."),
        "surgeon": Paragraph("3.7", "It is done by surgeons with experience in nerve surgery."),
    },
)

IPG804 = Guidance(
    "IPG804",
    "Interventional procedures guidance 804",
    "final",
    "final guidance",
    {"treat": "secondary procedure", "prevent": "primary procedure", "pain": "problematic pain"},
    {
        "special": Paragraph("1.1", "It may be used as a secondary procedure for problematic pain, with special arrangements."),
        **_SHARED,
        "team": Paragraph("1.4", "A multidisciplinary team selects; it may include a consultant in rehabilitation medicine."),
        "prevention": Paragraph("", "More research is needed before it is used as a primary procedure."),
        "research-only": Paragraph("1.6", "A primary procedure is done only in a formal study that an ethics committee has approved."),
        "research": Paragraph("", "Selection, technique, reintervention, and outcomes in the short and long term."),
        "surgeon": Paragraph("", "It is done by surgeons with experience in nerve surgery."),
    },
)

VERSIONS: Mapping[str, Guidance] = {version.id: version for version in (CONSULTATION, IPG804)}

#: Rule -> topic without which it does not hold.
RULE_TOPICS: Mapping[str, str] = {
    "GOV-52": "surgeon",
    "GOV-53": "lead",
    "GOV-54": "decision",
    "GOV-55": "team",
    "GOV-56": "audit",
    "GOV-57": "review",
    "GOV-58": "appraisal",
    "GOV-59": "research-only",
}

#: Topic -> questions of the audit that stand for it.
QUESTIONS: Mapping[str, tuple[str, ...]] = {"team": ("au_mdt", "au_mdt_who")}


@dataclass(frozen=True)
class Difference:
    """What changes between two versions: of what, and its words before and after; empty where there was or will be nothing."""

    what: str
    before: str
    after: str


def differences(old: Guidance, new: Guidance) -> list[Difference]:
    """What changes when another version is followed: words, paragraphs, rules that come or go, and questions for which they ask."""
    return [*_terms(old, new), *_paragraphs(old, new), *_rules(old, new)]


def _terms(old: Guidance, new: Guidance) -> Iterator[Difference]:
    for term, label in TERMS.items():
        if old.terms[term] != new.terms[term]:
            yield Difference(label, old.terms[term], new.terms[term])


def _paragraphs(old: Guidance, new: Guidance) -> Iterator[Difference]:
    for topic, label in TOPICS.items():
        before, after = (_said(version.paragraphs.get(topic)) for version in (old, new))
        if before != after:
            yield Difference(label, before, after)


def _said(paragraph: Paragraph | None) -> str:
    return "" if paragraph is None else f"{paragraph.number or 'number not compared'}: {paragraph.words}"


def _rules(old: Guidance, new: Guidance) -> Iterator[Difference]:
    for rule, topic in RULE_TOPICS.items():
        holds = [topic in version.paragraphs for version in (old, new)]
        if holds[0] != holds[1]:
            asks = f" (questions {', '.join(QUESTIONS[topic])})" if topic in QUESTIONS else ""
            words = [f"asked for{asks}" if held else "" for held in holds]
            yield Difference(f"Rule {rule}", words[0], words[1])


# --- what is followed ------------------------------------------------------------------------------------------------


def changed(on_record: Register, on: date) -> Fact | None:
    """The newest change of the guidance that was recorded by a day."""
    known = [fact for fact in on_record.of("guidance", on) if fact.about in VERSIONS]
    return known[-1] if known else None


def in_use(protocol: Protocol, on_record: Register, on: date) -> Guidance:
    """The version that a study follows on a day: the one that was recorded last, or the protocol's."""
    fact = changed(on_record, on)
    stated = VERSIONS.get(protocol.guidance.get("id", ""))
    return VERSIONS[fact.about] if fact else stated or (CONSULTATION if protocol.guidance.get("status") == "draft" else IPG804)


def final(protocol: Protocol, on_record: Register, on: date) -> bool:
    """Whether final guidance is followed on a day: the status that the protocol states counts until a change is recorded."""
    fact = changed(on_record, on)
    return VERSIONS[fact.about].final if fact else protocol.guidance.get("status") != "draft"

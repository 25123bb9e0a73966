"""Rules about documents and modifications: GOV-12, 21 to 26, 38."""

from collections.abc import Iterator

from trialdm.domain.ethics.case import Against, Case, ConsentGiven
from trialdm.domain.ethics.modifications import CHANGES, CLASSES, WAITS, lighter, suggested
from trialdm.domain.ethics.reconsent import CONSENTED_ON, renewals
from trialdm.domain.ethics.register import Document
from trialdm.domain.ethics.rules import Judgement, Rule
from trialdm.domain.protocol import Site

Found = Iterator[Against]

#: Kinds of form at which nobody is asked to consent again first: what happened is recorded, and consent itself.
_WITHOUT_RECONSENT = frozenset({"screening", "consent", "deviation", "status", "system", "safety", "operative", "unblinding"})


def _documents_current(case: Case) -> Found:
    if case.site is None:
        return
    for kind in CONSENTED_ON:
        if not case.register.current_document(kind, case.site, case.on):
            yield Against(
                f"No {kind} is approved for use at site {case.site.code} on {case.on.isoformat()}.",
                f"An approved {kind} that this site has taken up.",
            )
    given = case.participant.consent if case.participant else None
    if given is not None:
        yield from _consented_on(case, case.site, given)


def _consented_on(case: Case, site: Site, given: ConsentGiven) -> Found:
    """The consent was given on the versions in use at that site on that day."""
    day = given.renewed or given.at.date()
    for kind in CONSENTED_ON:
        code = given.documents.get(kind)
        if code is None:
            continue
        current = case.register.current_document(kind, site, day)
        if current is not None and current.code == code:
            continue
        used = case.register.document(kind, code)
        mend = f"Re-consent with {current.title}." if current else f"An approved {kind} for this site."
        if used is None:
            yield Against(f"{kind} {code} is not on record.", f"The version recorded in the documents register. {mend}")
        else:
            why = _why_not(case, used, site, day)
            yield Against(f"{kind} v{used.version} was not approved for use at this site on {day.isoformat()}.{why}", mend)


def _why_not(case: Case, document: Document, site: Site, day: object) -> str:
    """More about a version that was not in use: revoked, or the site still had days to object."""
    if document.revoked_on:
        return f" It was revoked on {document.revoked_on.isoformat()}."
    came_with = case.register.came_with(document)
    told = came_with.when("notify", site.code) if came_with else None
    if came_with is None or came_with.category not in WAITS or site.code in document.sites or told is None:
        return ""
    free = came_with.free_at(site.code, case.param("site_objection_days"))
    if free is None:
        return f" Site {site.code} has objected to modification {came_with.ref}."
    return (
        f" Site {site.code} was told of modification {came_with.ref} on {told.isoformat()} and has until day "
        f"{case.param('site_objection_days')}, {free.isoformat()}, to object."
        if str(day) < free.isoformat()
        else ""
    )


def _reconsent(case: Case) -> Found:
    given = case.participant.consent if case.participant else None
    exempt = case.form is not None and case.form.kind in _WITHOUT_RECONSENT
    if case.site is None or given is None or exempt:
        return
    for renewal in renewals(case.register, case.site, [(given.renewed or given.at.date(), given.documents)], case.on):
        document = renewal.document
        yield Against(
            f"Re-consent with {document.kind} v{document.version} is due before this visit.",
            f"A consent form on {document.title}, entered as an event.",
            "block" if renewal.urgency == "block" else "warn",
        )


def _site_version(case: Case) -> Found:
    form, site = case.versions
    if form and site and form != site:
        where = f"site {case.site.code}" if case.site else "this site"
        yield Against(
            f"Form v{form} belongs to a protocol version not live at {where}: the site works with {site}.",
            "Open the form again and enter the answers there.",
        )


def _classified(case: Case) -> Found:
    modification = case.modification
    if modification is None:
        return
    if modification.kind not in CLASSES or not modification.tool:
        yield Against(
            "Attach the Modification Tool output, and give the class that it names.",
            "The class (substantial, of an important detail, minor) and the file of the Modification Tool.",
        )


def _usual_class(case: Case) -> Found:
    modification = case.modification
    if modification is None or modification.kind not in CLASSES or modification.justification:
        return
    usual = suggested(modification.changes)
    if lighter(modification.kind, usual):
        heavy = "; ".join(CHANGES[c][0] for c in modification.changes if CHANGES[c][1] == usual)
        yield Against(f"This change usually counts as {CLASSES[usual]} ({heavy}). Confirm or justify.", "A justification of the class.")


def _decided(case: Case) -> Found:
    modification = case.modification
    if modification is None or modification.approved(case.on):
        return
    if modification.kind == "substantial":
        yield Against(
            f"Substantial modification {modification.ref} has no favourable opinion.",
            "The committee's favourable opinion of the modification, in the register.",
        )
    else:
        yield Against(
            f"Modification {modification.ref} has not been acknowledged.",
            "The acknowledgement of a modification of an important detail, in the register.",
        )


def _site_may_object(case: Case) -> Found:
    modification = case.modification
    if modification is None or case.site is None or modification.category not in WAITS:
        return
    code = case.site.code
    free = modification.free_at(code, case.param("site_objection_days"))
    if free is not None and free <= case.on:
        return
    if modification.site_state(code, case.on) == "objected":
        yield Against(f"Site {code} has objected to modification {modification.ref}.", "The site's agreement, or the site left out.")
    elif free is None:
        yield Against(
            f"Site {code} has not been told of modification {modification.ref}.",
            f"The sponsor's notice to the site, and {case.param('site_objection_days')} days or the site's agreement.",
        )
    else:
        yield Against(f"Site {code} has until {free.isoformat()} to raise an objection.", f"The site's agreement, or {free.isoformat()}.")


def _restart_approved(case: Case) -> Found:
    if case.halted_on is None:
        return
    since = [m for m in case.register.modifications if "restart" in m.changes and m.created_on >= case.halted_on]
    if not any(m.state(case.on) == "favourable" for m in since):
        yield Against(
            f"The trial was halted on {case.halted_on.isoformat()}: the restart is a substantial modification, without favourable opinion.",
            "A modification 'restart after a temporary halt' with the committee's favourable opinion.",
        )


RULES = (
    Rule(
        "GOV-12", "Information sheet and consent form current at that site on that day", "HRA, examples of modifications", "REC condition",
        (Judgement(("consent", "randomise"), _documents_current, needs=("site",)),),
    ),
    Rule(
        "GOV-21", "Every change is classified with the Modification Tool", "HRA, modifications of non-CTIMPs; IRAS", "HRA expectation",
        (Judgement(("propose-modification",), _classified, needs=("modification",)),),
    ),
    Rule(
        "GOV-22", "A substantial modification needs a favourable opinion", "HRA approvals process for non-CTIMP modifications",
        "REC condition",
        (Judgement(("implement-modification",), _decided, needs=("modification",)),), pack="non-ctimp", elsewhere="deadline",
    ),
    Rule(
        "GOV-23", "Changes that usually count as substantial", "HRA, examples of modifications", "HRA expectation",
        (Judgement(("propose-modification",), _usual_class, needs=("modification",), severity="warn"),), severity="warn",
    ),
    Rule(
        "GOV-24", "A site has 35 days to object, categories A and B", "IRAS help", "HRA expectation",
        (Judgement(("implement-modification",), _site_may_object, needs=("modification", "site")),), elsewhere="deadline",
    ),
    Rule(
        "GOV-25", "A form belongs to the protocol version of its site", "Good clinical practice", "GCP",
        (Judgement(("save-form",), _site_version),),
    ),
    Rule(
        "GOV-26", "Consent again after a change of the documents", "HRA, examples of modifications; modification's own flag",
        "REC condition",
        (Judgement(("save-form", "randomise"), _reconsent, needs=("participant", "site")),),
    ),
    Rule(
        "GOV-38", "The restart after a halt is a substantial modification", "HRA, examples of modifications", "REC condition",
        (Judgement(("resume-trial",), _restart_approved),),
    ),
)  # fmt: skip

"""Rules about what committees, authorities, sponsor and sites have decided: GOV-01 to 11, 32, 35, 40, 42, 47."""

from collections.abc import Iterator

from trialdm.domain.ethics.case import Against, Case
from trialdm.domain.ethics.dates import add_days
from trialdm.domain.ethics.register import GOOD, NATIONAL_BODY, Approval
from trialdm.domain.ethics.rules import Judgement, Rule
from trialdm.domain.lifecycle import label
from trialdm.domain.protocol import NATIONS
from trialdm.domain.words import counted

_STUDY_TYPES = ("non-ctimp", "ctimp", "device")

Found = Iterator[Against]


def _study_type(case: Case) -> Found:
    if case.protocol.study_type not in _STUDY_TYPES:
        yield Against(
            "Set the study type first. It decides which approval rules apply.",
            "A study type in the protocol: a surgical trial without a medicine is a non-CTIMP.",
        )


def _preventive_needs_opinion(case: Case) -> Found:
    if case.protocol.pathway == "primary" and not case.register.standing("rec", case.on, nation=case.nation):
        yield Against(
            "Preventive TMR may only be done inside a study with a favourable ethics opinion.",
            "A favourable opinion of a research ethics committee, in force on this day" + _checked(case, "rec"),
        )
    yield from _open_conditions(case)


def _checked(case: Case, body: str, site: str = "") -> str:
    """The end of a sentence about a decision that is lacking: it may be there and wait for its check."""
    newest = case.register.latest(body, case.on, site=site)
    return ", checked by a second person." if newest and newest.waits_for_check else "."


def _open_conditions(case: Case) -> Found:
    opinion = case.register.standing("rec", case.on, nation=case.nation)
    if opinion is None or opinion.status != "favourable_with_conditions":
        return
    unmet = [c for c in opinion.conditions if c.pre_start and not c.met(case.on)]
    if unmet:
        yield Against(
            f"{counted(len(unmet), 'ethics condition')} to be met before the start without evidence: " + "; ".join(c.text for c in unmet),
            "Evidence for each condition, recorded in the approvals register.",
        )


def _opinion_status(case: Case) -> Found:
    if case.register.standing("rec", case.on, nation=case.nation):
        return
    newest = case.register.latest("rec", case.on, nation=case.nation)
    yield Against(
        f"Ethics opinion is '{_opinion_words(newest)}'. Recruitment cannot open.",
        "A favourable opinion of a research ethics committee, in force on this day" + _checked(case, "rec"),
    )


def _opinion_words(newest: Approval | None) -> str:
    if newest is None:
        return "not submitted"
    if newest.waits_for_check:
        return f"{newest.status.replace('_', ' ')}, not checked by a second person"
    return f"expired on {newest.effective_to}" if newest.status in GOOD else newest.status.replace("_", " ")


def _national_permission(case: Case) -> Found:
    if case.site is not None and not _permitted(case, case.site.nation):
        yield _no_permission(case.site.nation)


def _permission_of_any_nation(case: Case) -> Found:
    nations = list(dict.fromkeys(site.nation for site in case.protocol.sites))
    if not any(_permitted(case, nation) for nation in nations):
        yield from map(_no_permission, nations)


def _permitted(case: Case, nation: str) -> bool:
    return case.register.standing(NATIONAL_BODY[nation][0], case.on, nation=nation) is not None


def _no_permission(nation: str) -> Against:
    permission = NATIONAL_BODY[nation][1]
    return Against(f"No {permission} is in force for {NATIONS[nation]}.", f"{permission} for {NATIONS[nation]}, in force on this day.")


def _capacity_confirmed(case: Case) -> Found:
    if case.site is not None and not _has_capacity(case, case.site.code):
        yield Against(
            f"Site {case.site.code} has not confirmed capacity and capability.",
            "The site's confirmation of capacity and capability, with the signed agreement.",
        )


def _has_capacity(case: Case, site: str) -> bool:
    confirmed = case.register.standing("site_cc", case.on, site=site)
    return bool(confirmed and confirmed.agreement_signed_on and confirmed.agreement_signed_on <= case.on)


def green_light(case: Case) -> list[tuple[str, bool]]:
    """What the sponsor's green light for a site stands on, and whether each is there on the day (GOV-07; sponsor policy)."""
    if case.site is None:
        return []
    site, on, register = case.site, case.on, case.register
    team = {
        line.person for line in register.delegations if line.site == site.code and line.covers(line.person, site.code, min(line.tasks), on)
    }
    items = [
        ("capacity and capability with the signed agreement", _has_capacity(case, site.code)),
        ("site initiation visit", bool(register.standing("site_siv", on, site=site.code))),
        (
            "delegation log signed for consent and eligibility",
            all(register.who_could(t, site.code, on) for t in ("consent", "eligibility")),
        ),
        ("training in good clinical practice of everybody on the log", all(register.trained(person, "gcp", on) for person in team)),
        ("information sheet and consent form of the site", all(register.current_document(k, site, on) for k in ("PIS", "ICF"))),
        ("the sponsor's signature, checked by a second person", bool(register.standing("site_greenlight", on, site=site.code))),
    ]
    return [row for row in items if row[0] != "site initiation visit" or case.param("site_initiation")]


def _green_light(case: Case) -> Found:
    missing = [item for item, there in green_light(case) if not there]
    if missing:
        yield Against(f"Sponsor green light missing: {'; '.join(missing)}.", "Each of these on record (sponsor policy).")


def _site_open(case: Case) -> Found:
    if case.site is None:
        return
    green = case.register.standing("site_greenlight", case.on, site=case.site.code)
    if case.site_state != "open" or green is None:
        state = label(case.site_state) if case.site_state != "open" else "without the sponsor's green light on that day"
        yield Against(
            f"Site {case.site.code} was not open on {case.on.isoformat()}: it is {state}.",
            "Management permission and the sponsor's green light for this site, and the site opened.",
        )


def _registered(case: Case) -> Found:
    if not case.register.standing("registry", case.on):
        yield Against(
            "Trial must be registered before the first participant.",
            "The identifier and date of a public registry, in the approvals register.",
        )


def _registration_clock(case: Case) -> Found:
    opinion = case.register.standing("rec", case.on, nation=case.nation)
    if opinion and opinion.decided_on and not case.register.standing("registry", case.on):
        due = add_days(opinion.decided_on, case.param("registry_days"))
        yield Against(f"Registration is due by {due.isoformat()}.", "Register the trial and record the identifier.")


def _authorised(case: Case) -> Found:
    if not case.register.standing("mhra", case.on):
        yield Against("No authorisation of the MHRA is in force.", "The MHRA's authorisation, in the approvals register.")


def _insured(case: Case) -> Found:
    if not case.register.standing("insurance", case.on):
        newest = case.register.latest("insurance", case.on)
        ended = f" It ended on {newest.effective_to}." if newest and newest.effective_to else ""
        yield Against(f"No insurance or indemnity is in force.{ended}", "Insurance or indemnity in force on this day.")


def _dpia_signed(case: Case) -> Found:
    if not case.register.standing("dpia", case.on):
        yield Against("DPIA not signed.", "A signed data protection impact assessment, in the approvals register (sponsor policy).")


def _committee_recommends(case: Case) -> Found:
    advice = case.register.latest("dmc", case.on)
    if advice is None or advice.status == "continue" or advice.starts is None:
        return
    decision = case.register.latest("tsc", case.on)
    if decision is None or decision.starts is None or decision.starts < advice.starts or decision.status != "continue":
        waits = (
            "pending TSC decision" if decision is None or (decision.starts or advice.starts) < advice.starts else "by decision of the TSC"
        )
        yield Against(
            f"Recruitment is paused {waits}: the data monitoring committee recommended '{advice.status}' on {advice.starts.isoformat()}.",
            "The trial steering committee's decision to go on, in the approvals register.",
        )


def _coenrolment(case: Case) -> Found:
    other = case.participant.other_trial if case.participant else ""
    if not other:
        return
    rows = [a for a in case.register.decisions("coenrolment", case.on) if a.ref.upper() == other.upper()]
    if not rows or rows[-1].status not in GOOD:
        yield Against(
            f"Co-enrolment with {other} not agreed.",
            "The sponsor's or chief investigator's agreement to co-enrolment with this trial, in the approvals register.",
        )


RULES = (
    Rule(
        "GOV-01", "The study type is set", "HRA, changes to non-CTIMPs", "HRA expectation",
        (Judgement(("configure-trial", "open-trial"), _study_type),),
    ),
    Rule(
        "GOV-02", "Preventive TMR only in research that an ethics committee approved", "NICE consultation 1.5; IPG804 1.6",
        "NICE recommendation; REC condition",
        (Judgement(("consent", "randomise", "operate"), _preventive_needs_opinion),),
    ),
    Rule(
        "GOV-03", "The ethics opinion is favourable", "HRA; REC letters", "REC condition",
        (Judgement(("open-trial", "resume-trial"), _opinion_status),),
    ),
    Rule(
        "GOV-04", "Conditions of the opinion met before the start", "REC favourable opinion letter", "REC condition",
        (Judgement(("open-trial",), _open_conditions),),
    ),
    Rule(
        "GOV-05", "Permission of the nation beside the ethics opinion", "HRA approval; NHS Scotland; HSC", "REC condition",
        (
            Judgement(("activate-site", "consent", "randomise"), _national_permission, needs=("site",)),
            Judgement(("open-trial", "resume-trial"), _permission_of_any_nation),
        ),
    ),
    Rule(
        "GOV-06", "Capacity and capability confirmed, agreement signed", "HRA site set-up", "HRA expectation",
        (Judgement(("activate-site",), _capacity_confirmed, needs=("site",)),),
    ),
    Rule(
        "GOV-07", "The sponsor's green light, with everything that it stands on", "Good clinical practice", "sponsor policy",
        (Judgement(("activate-site",), _green_light, needs=("site",)),),
    ),
    Rule(
        "GOV-08", "The site was open on the day", "REC favourable opinion, management permission", "REC condition",
        (Judgement(("consent", "randomise"), _site_open, needs=("site",)),),
    ),
    Rule(
        "GOV-09", "Registered before the first participant, or within 90 days of approval", "HRA research transparency", "REC condition",
        (
            Judgement(("consent", "randomise"), _registered),
            Judgement(("open-trial",), _registration_clock, severity="clock"),
        ),
        pack="non-ctimp", elsewhere="deadline",
    ),
    Rule(
        "GOV-10", "Registered before the first participant; results 12 months after the end",
        "HRA research transparency for clinical trials",
        "law", (Judgement(("consent", "randomise"), _registered),), pack="ctimp", elsewhere="deadline",
    ),
    Rule(
        "GOV-11", "Authorised, and the approval of a CTIMP has not lapsed", "HRA, approvals lapsing", "law",
        (Judgement(("open-trial", "consent", "randomise"), _authorised),), pack="ctimp", elsewhere="deadline",
    ),
    Rule(
        "GOV-32", "Co-enrolment agreed", "Good clinical practice; sponsor's list", "sponsor policy",
        (Judgement(("randomise",), _coenrolment, needs=("participant",)),),
    ),
    Rule(
        "GOV-35", "No annual progress report to the committee; a yearly review of section 251 support",
        "HRA progress reports, 1 August 2024",
        "HRA expectation", severity="clock", elsewhere="deadline",
    ),
    Rule(
        "GOV-40", "Insurance or indemnity in force", "HRA approval", "REC condition",
        (Judgement(("open-trial", "resume-trial", "consent", "randomise"), _insured),),
    ),
    Rule(
        "GOV-42", "Data protection impact assessment signed", "UK GDPR; research safeguards", "sponsor policy",
        (Judgement(("open-trial",), _dpia_signed),),
    ),
    Rule(
        "GOV-47", "A recommendation to pause waits for the steering committee", "DAMOCLES charter; protocol", "protocol",
        (Judgement(("randomise",), _committee_recommends),),
    ),
)  # fmt: skip

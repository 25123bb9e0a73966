"""Rules about a participant: consent, capacity, withdrawal, readiness, identifiers: GOV-13, 17 to 20, 41, 43, 44."""

from collections.abc import Iterator

from trialdm.domain import identifiers
from trialdm.domain.ethics.case import (
    BEFORE_CONSENT,
    CONSULTEE,
    NOMINATED,
    OWN_CONSENT,
    SCOTLAND,
    WITNESSED,
    Against,
    Case,
    Standing,
)
from trialdm.domain.ethics.rules import Judgement, Rule
from trialdm.domain.ethics.withdrawal import COLLECTS, LEVELS
from trialdm.domain.lifecycle import label

Found = Iterator[Against]


def _consent_first(case: Case) -> Found:
    if case.participant is None or (case.form is not None and case.form.kind in BEFORE_CONSENT):
        return
    given = case.participant.consent
    if given is None:
        yield Against("No consent is on record for this participant.", "A complete consent form.")
        return
    day, procedure = given.at.date(), case.participant.procedure_on
    if case.action != "save-form" and day > case.on:
        yield Against(f"Consent is dated {day.isoformat()}, after {case.on.isoformat()}.", "Consent before any trial procedure.")
    if case.action == "randomise" and procedure is not None and procedure < day:
        yield Against(
            f"Procedure recorded before consent: baseline is dated {procedure.isoformat()}, consent {day.isoformat()}.",
            "The right dates on both forms; a procedure that was done before consent is done again.",
        )
    if case.action == "randomise":
        taken = (given.renewed or day).isoformat()
        for told in case.participant.consent_refused:
            yield Against(
                f"The consent of {taken} was not allowed on its day: {told}", "Consent given again, on a day on which it is allowed."
            )
    if case.action == "randomise" and given.recorded_on and (given.recorded_on - day).days > case.param("consent_entry_days"):
        yield Against(
            f"The consent of {day.isoformat()} was only entered on {given.recorded_on.isoformat()} (back-dated).",
            "The signed form compared with the entry.",
            "warn",
        )


# --- capacity --------------------------------------------------------------------------------------------------------


def _covered(case: Case, what: str) -> bool:
    opinion = case.register.standing("rec", case.on, nation=case.nation)
    return bool(case.param("consultee_route") and opinion and what in opinion.covers)


_ANSWER = "The answer, on the consent form (a missing reason will not do)."

#: What a consent stands on -> what is said where the form gives a missing reason for it.
_NOT_RECORDED = {
    "consent_route": "The route of consent is not recorded.",
    "consent_capacity": "It is not recorded whether the person had capacity.",
    "consent_witness": "It is not recorded whether a witness was present.",
}


def _capacity(case: Case) -> Found:
    given = case.participant.consent if case.participant else None
    if given is None:
        return
    for name, told in _NOT_RECORDED.items():
        if name in given.unknown:
            yield Against(told, _ANSWER)
    if given.route is None:
        return
    scotland = given.route == SCOTLAND
    if given.route in CONSULTEE or scotland:
        if not _covered(case, "incapacity_scotland" if scotland else "incapacity"):
            yield Against(
                "This study is not approved to include adults who lack capacity.",
                "A protocol with a consultee route, and an ethics opinion that covers it (Mental Capacity Act 2005, sections 30 to 33).",
            )
    elif given.route in OWN_CONSENT and given.capacity == 0:
        yield Against(
            "A person judged to lack capacity cannot give their own consent.",
            "A consultee's advice, where the study is approved for it; or capacity judged again.",
        )
    if given.route == WITNESSED and given.witnessed == 0:
        yield Against("The person could not sign and no witness was present.", "Consent witnessed by somebody independent of the study.")


def _consultee(case: Case) -> Found:
    given = case.participant.consent if case.participant else None
    if given is None or given.route not in CONSULTEE:
        return
    if given.consultee_on_team == 1:
        kind = "Nominated" if given.route == NOMINATED else "Personal"
        yield Against(
            f"{kind} consultee is on the study team.", "Advice of a consultee who has no connection with the study (MCA 2005, section 32)."
        )
    if "consent_consultee_team" in given.unknown:
        yield Against(
            "It is not recorded whether the consultee is on the study team.",
            _ANSWER,
        )
    if given.route == NOMINATED and not given.no_personal_consultee:
        yield Against(
            "A nominated consultee was asked, and no reason says why there is no personal one.",
            "The reason why no personal consultee could be found, on the consent form.",
        )


def _scotland(case: Case) -> Found:
    given = case.participant.consent if case.participant else None
    if given is None or given.route is None or case.site is None:
        return
    in_scotland = case.site.nation == "SCO"
    if in_scotland and given.route in CONSULTEE:
        yield Against(
            "In Scotland the Adults with Incapacity Act applies: a consultee's advice does not take the place of consent.",
            "Consent of the nearest relative, guardian or welfare attorney (route 6).",
        )
    if not in_scotland and given.route == SCOTLAND:
        yield Against(
            "The route by nearest relative or guardian is for Scotland only.", "A consultee's advice, where the study is approved for it."
        )


def _capacity_lost(case: Case) -> Found:
    lost = case.participant.capacity if case.participant else None
    exempt = case.form is not None and case.form.kind in (*BEFORE_CONSENT, "safety")
    if lost is None or lost.lost_on > case.on or exempt:
        return
    if lost.regained_on and lost.regained_on <= case.on:
        if not lost.renewed:
            yield Against(
                f"Capacity was regained on {lost.regained_on.isoformat()}, and consent has not been asked for again.",
                "A consent form (reason: regained capacity), entered as an event.",
            )
    elif not lost.plan:
        yield Against(
            "Record the capacity plan before further research procedures.",
            "What the protocol foresees for somebody who lost capacity, on the capacity form.",
        )


# --- what may still be collected -------------------------------------------------------------------------------------


def _withdrawal(case: Case) -> Found:
    if case.participant is None or case.form is None:
        return
    level = case.participant.withdrawal_level
    if case.form.kind not in COLLECTS.get(level, frozenset({case.form.kind})):
        yield (
            Against(
                "Participant allows no further data collection (full withdrawal).",
                "Nothing: data to date are kept, and no new data may be recorded."
                if LEVELS[level].used
                else "Nothing: no new data may be recorded, and data to date go into no later export.",
            )
            if level >= 3
            else Against(
                f"The participant has stopped visits and questionnaires (withdrawal level {level}): {case.form.title} is not collected.",
                "Nothing: routine data and safety are still recorded.",
            )
        )


def _no_identifiers(case: Case) -> Found:
    for text in case.texts:
        for found in identifiers.search(text):
            yield Against(f"This looks like {found.words}. Remove it.", "Text without anything that identifies a person.", found.severity)


# --- randomising -----------------------------------------------------------------------------------------------------


def _ready_to_randomise(case: Case) -> Found:
    if case.participant is not None and case.participant.later:
        yield from _ready_again(case, case.participant)
        return
    if case.trial_state != "open":
        yield Against(f"The trial is {label(case.trial_state)}.", "The trial open to recruitment.")
    if case.site is not None and case.site_state != "open":
        yield Against(f"Site {case.site.code} is {label(case.site_state)}.", "The site open.")
    if case.randomised_count >= case.protocol.target_participants:
        yield Against(
            f"The target of {case.protocol.target_participants} participants has been reached.",
            "A higher target, by an approved modification.",
        )
    if case.participant is not None:
        yield from _participant_ready(case, case.participant)


def _ready_again(case: Case, participant: Standing) -> Found:
    """A later randomisation of somebody who is in the trial already: recruitment may be over."""
    if case.trial_state not in ("open", "closed_recruitment", "follow_up"):
        yield Against(f"The trial is {label(case.trial_state)}.", "The trial open, or in follow-up.")
    yield from _in_the_trial(participant)
    yield from _answers_complete(participant)


def _participant_ready(case: Case, participant: Standing) -> Found:
    yield from _in_the_trial(participant)
    if not participant.eligibility_complete:
        yield Against("The eligibility form is not complete.", "A complete eligibility form.")
    elif participant.eligibility_failures:
        failed = "; ".join(participant.eligibility_failures)
        yield Against(f"Eligibility is not met: {failed}.", "All eligibility criteria met.")
    elif not participant.eligibility_signed:
        yield Against(
            "Eligibility has not been confirmed by a doctor.",
            "The eligibility form saved as complete by the principal investigator or a sub-investigator.",
        )
    yield from _answers_complete(participant)
    if participant.factors_changed:
        yield Against(
            f"Changed since a doctor confirmed eligibility: {', '.join(participant.factors_changed)}.",
            "The eligibility form saved again by the principal investigator or a sub-investigator, with a reason.",
        )
    planned, days = participant.surgery_planned, case.param("rand_window_days")
    if planned is None and case.protocol.meaning("surgery_planned"):
        yield Against("No day is planned for the operation.", "The planned day, on the form that asks for it.")
    elif planned is not None and planned < case.on:
        yield Against(f"Surgery was planned for {planned.isoformat()}, which has passed.", "A planned date from today on.")
    elif planned is not None and (planned - case.on).days > days:
        yield Against(
            f"Surgery is planned for {planned.isoformat()}, more than {days} days ahead.",
            f"Randomise within {days} days of the planned operation.",
        )


def _in_the_trial(participant: Standing) -> Found:
    if participant.randomised:
        yield Against("The participant has been randomised already.", "Nothing: one participant is randomised once.")
    if participant.state in ("withdrawn", "died", "lost"):
        yield Against(f"The participant is recorded as {label(participant.state)}.", "A participant in the trial.")
    if participant.consent is None:
        yield Against("No valid consent is on record.", "A complete consent form.")


def _answers_complete(participant: Standing) -> Found:
    if participant.baseline_missing:
        yield Against(f"Baseline is not complete: {', '.join(participant.baseline_missing)}.", "These forms complete.")
    if participant.factors_missing:
        yield Against(
            f"The allocation needs answers to: {', '.join(participant.factors_missing)}.",
            "An answer to each (a missing reason will not do).",
        )


RULES = (
    Rule(
        "GOV-13", "Consent before any trial procedure", "ICH GCP", "GCP",
        (Judgement(("randomise", "operate", "save-form"), _consent_first, needs=("participant",)),),
    ),
    Rule(
        "GOV-17", "Adults who lack capacity only where protocol and committee cover it", "Mental Capacity Act 2005, sections 30 to 33; HRA",
        "law", (Judgement(("consent", "randomise"), _capacity, looks_at=("participant",)),),
    ),
    Rule(
        "GOV-18", "A personal consultee first; a nominated one without connection to the study", "Mental Capacity Act 2005, section 32",
        "law", (Judgement(("consent", "randomise"), _consultee, looks_at=("participant",)),),
    ),
    Rule(
        "GOV-19", "Scotland: Adults with Incapacity Act", "Adults with Incapacity (Scotland) Act 2000, section 51", "law",
        (Judgement(("consent", "randomise"), _scotland, looks_at=("participant", "site")),),
    ),
    Rule(
        "GOV-20", "Loss of capacity after consent is planned for; consent again when regained", "Mental Capacity Act 2005; protocol",
        "protocol",
        (Judgement(("save-form", "randomise", "operate"), _capacity_lost, needs=("participant",), severity="warn"),), severity="warn",
    ),
    Rule(
        "GOV-41", "No identifiers in the text of a form", "UK GDPR", "UK GDPR",
        (Judgement(("save-form",), _no_identifiers),), elsewhere="form",
    ),
    Rule(
        "GOV-43", "Withdrawal decides what may still be collected", "UK GDPR; protocol", "protocol",
        (Judgement(("save-form",), _withdrawal, needs=("participant",)),),
    ),
    Rule(
        "GOV-44", "Ready to randomise", "CONSORT 2025 item 12; protocol", "protocol",
        (Judgement(("randomise",), _ready_to_randomise, looks_at=("participant", "site")),),
    ),
)  # fmt: skip

"""The gate: every reason for and against one act, all of them at once."""

from collections.abc import Sequence

from trialdm.domain.ethics.case import Answer, Case, Reason
from trialdm.domain.ethics.rules import Rule, approvals, data, documents, participants, pathway, people, safety
from trialdm.domain.protocol import Protocol

#: Every rule, by number.
RULES: tuple[Rule, ...] = tuple(
    sorted(
        (rule for part in (approvals, documents, people, participants, safety, data, pathway) for rule in part.RULES),
        key=lambda rule: rule.id,
    )
)


def holds(rule: Rule, protocol: Protocol) -> bool:
    """Whether a rule's pack holds for a study: the treatment pathway has its own; those for CTIMPs are off for others."""
    if protocol.pathway == "secondary":
        return rule.pack == "audit" or rule.id in _ALSO_OF_THE_PATHWAY
    medicine = protocol.study_type == "ctimp"
    return rule.pack == "both" or rule.pack == ("ctimp" if medicine else "non-ctimp")


#: Rules of studies that hold for the treatment pathway, too.
_ALSO_OF_THE_PATHWAY = frozenset({"GOV-01", "GOV-16", "GOV-25", "GOV-41", "GOV-52"})


def gate(case: Case, rules: Sequence[Rule] = RULES) -> Answer:
    """Every reason for and against one act. A historical trial is not gated: its acts lie in the past."""
    asked = [(rule, j) for rule in rules for j in rule.judgements if case.action in j.actions and holds(rule, case.protocol)]
    if case.protocol.historical:
        return Answer(case.action, case.on, (), tuple(dict.fromkeys(rule.id for rule, _ in asked)))
    reasons: list[Reason] = []
    skipped: list[str] = []
    for rule, judgement in asked:
        if not _known(case, judgement.needs):
            skipped.append(rule.id)
            continue
        if not _known(case, judgement.looks_at):
            skipped.append(rule.id)
        reasons += [Reason(rule.id, a.severity or judgement.severity, a.message, a.needs) for a in judgement.judge(case)]
    return Answer(case.action, case.on, tuple(dict.fromkeys(reasons)), tuple(dict.fromkeys(skipped)))


def _known(case: Case, parts: tuple[str, ...]) -> bool:
    return all(getattr(case, part) is not None for part in parts)

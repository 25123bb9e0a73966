"""The governance rules, GOV-01 to GOV-59: what each asks for, where it comes from, and the small functions that judge.

A rule is data: title, source, standing (law or REC condition, HRA expectation, GCP, sponsor policy), severity, pack. What it
says about an act is a `Judgement`; what it counts in days is a clock (`clocks`); what a form or a role enforces is named in
`elsewhere`. Rules for CTIMPs are off unless the study is one; rules of the audit hold for the treatment pathway only.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from trialdm.domain.ethics.case import Against, Case, Severity

Judge = Callable[[Case], Iterable[Against]]


@dataclass(frozen=True)
class Judgement:
    """What a rule says about some acts. Without what it `needs` a rule is not evaluated; without what it `looks_at` it says
    what it can and is listed as not (fully) evaluated."""

    actions: tuple[str, ...]
    judge: Judge
    needs: tuple[str, ...] = ()
    looks_at: tuple[str, ...] = ()
    severity: Severity = "block"


#: Which rules hold: `both` and `non-ctimp` for a study without a medicine, `both` and `ctimp` for one with, `audit` for the
#: treatment pathway.
PACKS = {
    "both": "every study",
    "non-ctimp": "studies that are not trials of a medicine",
    "ctimp": "clinical trials of a medicine (off by default)",
    "audit": "treatment pathway",
}


@dataclass(frozen=True)
class Rule:
    """A governance rule. `elsewhere` says where it is enforced beside the gate: a form's check, a role, a deadline."""

    id: str
    title: str
    source: str
    status: str
    judgements: tuple[Judgement, ...] = ()
    pack: str = "both"
    severity: Severity = "block"
    elsewhere: str = ""

    @property
    def actions(self) -> tuple[str, ...]:
        """Acts that the gate decides by this rule."""
        return tuple(dict.fromkeys(action for judgement in self.judgements for action in judgement.actions))

"""Who may do what, and where: the one table of roles, actions and scopes.

A role is held for a trial, and site roles at one site. A right from this table is necessary, never sufficient: the
delegation log and the approval gate decide as well (`ethics`). Who reads allocations and restricted forms is decided here
too: everybody is blinded unless a role says otherwise.
"""

from collections.abc import Iterable
from dataclasses import dataclass

#: slug -> (name, works at one site)
ROLES: dict[str, tuple[str, bool]] = {
    "trial-coordinator": ("Trial coordinator", False),
    "trial-manager": ("Trial manager", False),
    "data-manager": ("Data manager", False),
    "unblinded-data-manager": ("Unblinded data manager", False),
    "monitor": ("Monitor", False),
    "statistician-blinded": ("Statistician (blinded)", False),
    "statistician-unblinded": ("Statistician (unblinded)", False),
    "chief-investigator": ("Chief investigator", False),
    "principal-investigator": ("Principal investigator", True),
    "sub-investigator": ("Sub-investigator", True),
    "research-nurse": ("Research nurse", True),
    "surgeon": ("Trial surgeon", True),
    "blinded-assessor": ("Blinded outcome assessor", True),
    "safety-reviewer": ("Safety reviewer", False),
    "sponsor": ("Sponsor representative", False),
    "dmc": ("Data monitoring committee member", False),
    "auditor": ("Audit clinician", True),
    "governance-lead": ("Clinical governance lead", True),
    "inspector": ("Inspector", False),
    "system-administrator": ("System administrator", False),
}

#: Roles that read allocations and restricted forms (site roles at their own site). All others are blinded.
UNBLINDED = frozenset({"principal-investigator", "sub-investigator", "surgeon", "unblinded-data-manager", "statistician-unblinded"})

#: role -> roles that the same person may not hold beside it in a trial: an unblinded one must not meet a blinded one. The
#: unblinded data manager holds no blinded role at all (a system administrator keeps accounts, not data).
KEPT_APART: dict[str, tuple[str, ...]] = {
    "unblinded-data-manager": tuple(role for role in ROLES if role not in UNBLINDED and role != "system-administrator"),
    "statistician-unblinded": ("statistician-blinded", "blinded-assessor"),
    "surgeon": ("blinded-assessor",),
    "principal-investigator": ("blinded-assessor",),
    "sub-investigator": ("blinded-assessor",),
}

#: The same as pairs.
INCOMPATIBLE = tuple((role, other) for role, others in KEPT_APART.items() for other in others)

#: Roles that are doctors: they may sign eligibility and judge causality.
MEDICAL = frozenset({"principal-investigator", "sub-investigator"})

_SITE_TEAM = ("research-nurse", "sub-investigator", "principal-investigator")
_CLINICAL_READERS = (
    *_SITE_TEAM,
    "surgeon",
    "blinded-assessor",
    "trial-coordinator",
    "trial-manager",
    "data-manager",
    "unblinded-data-manager",
    "monitor",
    "chief-investigator",
    "safety-reviewer",
    "inspector",
)

#: action -> roles that hold it
ACTIONS: dict[str, frozenset[str]] = {
    action: frozenset(roles)
    for action, roles in {
        "trial.see": tuple(ROLES),
        "trial.configure": ("trial-manager", "data-manager"),
        "trial.move": ("trial-manager", "chief-investigator", "sponsor"),
        "trial.pause": ("chief-investigator", "sponsor"),
        "site.move": ("trial-manager", "sponsor"),
        "approvals.record": ("trial-manager", "sponsor"),
        "approvals.check": ("trial-manager", "sponsor", "chief-investigator"),
        "documents.take-up": ("principal-investigator",),
        "facts.record": ("trial-manager", "sponsor", "chief-investigator", "safety-reviewer"),
        "modification.propose": ("trial-manager", "sponsor"),
        "modification.site": ("principal-investigator", "trial-manager", "sponsor"),
        "delegation.propose": ("principal-investigator", "trial-manager"),
        "delegation.countersign": ("principal-investigator", "chief-investigator", "sponsor"),
        "delegation.end": ("principal-investigator", "trial-manager", "chief-investigator", "sponsor"),
        "delegation.see": (
            *_SITE_TEAM,
            "surgeon",
            "blinded-assessor",
            "trial-coordinator",
            "trial-manager",
            "chief-investigator",
            "monitor",
            "inspector",
            "sponsor",
            "system-administrator",
        ),
        "training.record": ("trial-manager", "sponsor"),
        "approvals.see": (
            *_CLINICAL_READERS,
            "sponsor",
            "statistician-blinded",
            "statistician-unblinded",
            "governance-lead",
            "auditor",
        ),
        "people.manage": ("trial-manager", "system-administrator"),
        "people.see": ("trial-manager", "system-administrator", "monitor", "inspector", "sponsor", "principal-investigator"),
        "participant.see": _CLINICAL_READERS,
        "participant.add": (*_SITE_TEAM, "trial-coordinator"),
        "participant.randomise": (*_SITE_TEAM, "trial-coordinator"),
        "participant.transfer": ("trial-manager",),
        "participant.reinstate": ("principal-investigator",),
        "form.see": _CLINICAL_READERS,
        "form.sign": ("principal-investigator", "sub-investigator"),
        "casebook.sign": ("principal-investigator",),
        "form.verify": ("monitor", "unblinded-data-manager"),
        "hold.move": ("data-manager", "unblinded-data-manager", "trial-manager"),
        "form.import": ("data-manager", "unblinded-data-manager"),
        "query.see": _CLINICAL_READERS,
        "query.raise": ("data-manager", "unblinded-data-manager", "monitor", "trial-manager"),
        "query.answer": (*_SITE_TEAM, "surgeon", "blinded-assessor"),
        "query.close": ("data-manager", "unblinded-data-manager", "monitor"),
        "checks.run": ("data-manager", "unblinded-data-manager"),
        "history.import": ("data-manager", "unblinded-data-manager"),
        "allocation.see": tuple(UNBLINDED),
        "allocation.prepare": ("trial-manager", "statistician-unblinded"),
        "allocation.contribute": (
            "sponsor",
            "dmc",
            "chief-investigator",
            "statistician-blinded",
            "statistician-unblinded",
            "trial-manager",
            "monitor",
            "inspector",
        ),
        "allocation.custody": (
            "sponsor",
            "dmc",
            "chief-investigator",
            "trial-manager",
            "statistician-unblinded",
            "statistician-blinded",
        ),
        "allocation.sign": ("statistician-unblinded", "statistician-blinded", "trial-manager", "chief-investigator", "sponsor"),
        "allocation.move": ("statistician-unblinded", "trial-manager", "sponsor"),
        "allocation.ledger": (
            "statistician-unblinded",
            "statistician-blinded",
            "trial-manager",
            "sponsor",
            "monitor",
            "inspector",
            "dmc",
        ),
        "allocation.reveal": ("statistician-unblinded",),
        "allocation.balance": ("statistician-unblinded", "dmc"),
        "allocation.correct": ("statistician-unblinded", "trial-manager", "data-manager", "principal-investigator"),
        "allocation.verify": ("monitor",),
        "allocation.envelopes": ("statistician-unblinded",),
        "allocation.reconcile": ("trial-coordinator", "trial-manager", "principal-investigator", "sub-investigator", "research-nurse"),
        "rehearsal.run": ("statistician-unblinded", "statistician-blinded", "trial-manager"),
        "rehearsal.sign": ("statistician-unblinded", "statistician-blinded", "chief-investigator", "sponsor"),
        "allocation.unblind": ("principal-investigator", "sub-investigator", "chief-investigator", "safety-reviewer"),
        "allocation.tell": ("principal-investigator", "sub-investigator", "chief-investigator"),
        "theatre.confirm": ("surgeon", "principal-investigator", "sub-investigator"),
        "trial.unblind": ("statistician-unblinded", "sponsor"),
        "unblinding.see": ("statistician-unblinded", "sponsor", "inspector", "chief-investigator", "trial-manager"),
        "identity.enter": _SITE_TEAM,
        "identity.see": _SITE_TEAM,
        "identity.ask": (*_SITE_TEAM, "trial-coordinator", "trial-manager", "chief-investigator", "safety-reviewer"),
        "identity.confirm": ("principal-investigator", "trial-manager", "chief-investigator", "sponsor"),
        "identity.shred": ("trial-manager", "sponsor"),
        "identity.trail": ("principal-investigator", "sponsor", "inspector"),
        "safety.assess": ("chief-investigator", "safety-reviewer", "sponsor"),
        "report.safety": ("chief-investigator", "safety-reviewer", "sponsor"),
        "event.code": ("data-manager", "unblinded-data-manager"),
        "export.blinded": (
            "statistician-blinded",
            "data-manager",
            "unblinded-data-manager",
            "statistician-unblinded",
            "trial-manager",
        ),
        "export.unblinded": ("statistician-unblinded", "statistician-blinded"),
        "derived.see": (
            "statistician-blinded",
            "statistician-unblinded",
            "data-manager",
            "unblinded-data-manager",
            "trial-manager",
        ),
        "audit.see": (*_CLINICAL_READERS, "sponsor"),
        "audit.redact": ("data-manager", "unblinded-data-manager", "trial-manager", "sponsor"),
        "report.recruitment": (
            "trial-coordinator",
            "trial-manager",
            "data-manager",
            "unblinded-data-manager",
            "monitor",
            "statistician-blinded",
            "statistician-unblinded",
            "chief-investigator",
            "principal-investigator",
        ),
        "report.monitoring": (
            *_SITE_TEAM,
            "trial-coordinator",
            "trial-manager",
            "data-manager",
            "unblinded-data-manager",
            "monitor",
            "chief-investigator",
        ),
        "report.flow": ("trial-manager", "chief-investigator", "statistician-unblinded"),
        "case.see": ("auditor", "governance-lead", "sponsor", "inspector"),
        "case.add": ("auditor",),
        "case.trail": ("sponsor", "inspector"),
        "case.export": ("sponsor",),
        "case.report": ("auditor", "governance-lead", "sponsor", "inspector"),
        "case.never": (),
        "notice.give": ("auditor",),
        "notice.confirm": ("governance-lead",),
        "procedures.record": ("auditor", "governance-lead"),
        "review.hold": ("governance-lead",),
        "appraisal.record": ("auditor", "governance-lead"),
        "guidance.change": ("trial-manager", "sponsor"),
    }.items()
}

#: In the treatment pathway: action on participants -> the right over cases that it takes there. No right over the participants
#: of a trial gives one over cases, and none over cases one over participants.
OF_CASES: dict[str, str] = {
    "participant.see": "case.see",
    "form.see": "case.see",
    "participant.add": "case.add",
    "audit.see": "case.trail",
    "audit.redact": "case.never",
    "export.blinded": "case.export",
    "export.unblinded": "case.never",
    "derived.see": "case.never",
    "participant.randomise": "case.never",
    "participant.transfer": "case.never",
    "participant.reinstate": "case.never",
    "form.import": "case.never",
    "safety.assess": "case.never",
    "report.safety": "case.never",
    "event.code": "case.never",
    "query.see": "case.never",
    "query.raise": "case.never",
    "query.answer": "case.never",
    "query.close": "case.never",
    "checks.run": "case.never",
    "history.import": "case.never",
    "unblinding.see": "case.never",
    "trial.unblind": "case.never",
}

#: Roles that see their own cases only: those that they entered or operated on.
OWN_CASES = frozenset({"auditor"})

#: kind of form -> roles that may enter it
FORM_ENTRY: dict[str, frozenset[str]] = {
    kind: frozenset(roles)
    for kind, roles in {
        "screening": _SITE_TEAM,
        "consent": _SITE_TEAM,
        "eligibility": _SITE_TEAM,
        "baseline": _SITE_TEAM,
        "outcome": (*_SITE_TEAM, "blinded-assessor"),
        "operative": ("surgeon", "sub-investigator", "principal-investigator", "unblinded-data-manager"),
        "discharge": (*_SITE_TEAM, "surgeon"),
        "safety": (*_SITE_TEAM, "surgeon", "blinded-assessor"),
        "deviation": (*_SITE_TEAM, "trial-coordinator", "monitor"),
        "status": _SITE_TEAM,
        "unblinding": ("principal-investigator", "sub-investigator", "chief-investigator", "safety-reviewer"),
        "visit": (*_SITE_TEAM, "blinded-assessor"),
        "system": (),
        "audit": ("auditor",),
    }.items()
}

#: The two sides of locking and unlocking: one person of each.
LOCKED_BY = (frozenset({"data-manager", "unblinded-data-manager"}), frozenset({"trial-manager"}))

#: kind of form -> the delegated task that entering it needs
FORM_TASK = {"consent": "consent", "eligibility": "eligibility"}

#: Tasks of the delegation log.
TASKS = {
    "consent": "taking consent",
    "eligibility": "confirming eligibility",
    "randomise": "randomising",
    "crf": "completing case report forms",
    "assess": "assessing outcomes blinded",
    "operate": "operating",
    "unblind": "unblinding in an emergency",
}


@dataclass(frozen=True)
class Grant:
    """A role held now. `trial` "*" means every trial of the instance; `site` is empty for roles that work trial-wide."""

    role: str
    trial: str
    site: str = ""

    def covers(self, trial: str, site: str | None) -> bool:
        """Whether the role is held for this trial, and at this site where one is named."""
        return self.trial in ("*", trial) and (not self.site or site is None or self.site == site)


def may(grants: Iterable[Grant], action: str, trial: str, site: str | None = None) -> bool:
    """Whether one of the roles held allows the action there."""
    return any(grant.role in ACTIONS[action] and grant.covers(trial, site) for grant in grants)


def named(action: str, pathway: str) -> str:
    """What an action is called in a study of this pathway (`OF_CASES`)."""
    return OF_CASES.get(action, action) if pathway == "secondary" else action


def own_cases_only(grants: Iterable[Grant], trial: str, site: str) -> bool:
    """Whether the cases of a site are seen by a role only that sees its own."""
    seen = {grant.role for grant in grants if grant.role in ACTIONS["case.see"] and grant.covers(trial, site)}
    return bool(seen) and seen <= OWN_CASES


def may_enter(grants: Iterable[Grant], kind: str, trial: str, site: str) -> bool:
    """Whether one of the roles held may enter forms of this kind at this site."""
    return any(grant.role in FORM_ENTRY[kind] and grant.covers(trial, site) for grant in grants)


def assesses(grants: Iterable[Grant], kind: str, trial: str, site: str) -> bool:
    """Whether the person would fill a form of this kind as a blinded assessor: it holds outcomes, or no other role of theirs may."""
    held = {grant.role for grant in grants if grant.covers(trial, site)}
    return "blinded-assessor" in held and (kind == "outcome" or held & FORM_ENTRY[kind] == {"blinded-assessor"})


def sees_allocations(grants: Iterable[Grant], trial: str, site: str | None) -> bool:
    """Whether the person reads allocations and restricted forms of participants at this site (None: of all sites)."""
    return any(g.role in UNBLINDED and g.trial in ("*", trial) and (not g.site or g.site == site) for g in grants)


def sites_seen(grants: Iterable[Grant], action: str, trial: str) -> frozenset[str] | None:
    """Sites at which the action is allowed, or None where it is allowed at all of them."""
    held = [g for g in grants if g.role in ACTIONS[action] and g.trial in ("*", trial)]
    return None if any(not g.site for g in held) else frozenset(g.site for g in held)


def names(grants: Iterable[Grant], trial: str | None = None) -> list[str]:
    """The roles' names, for pages and the audit trail."""
    held = dict.fromkeys(g.role for g in grants if trial is None or g.trial in ("*", trial))
    return [ROLES[role][0] for role in held]


def knew(role: str, ended: Iterable[str]) -> str:
    """A role that ended and that keeps somebody from this one: an unblinded statistician never becomes the blinded one."""
    return "statistician-unblinded" if role == "statistician-blinded" and "statistician-unblinded" in set(ended) else ""


def clash(roles: Iterable[str]) -> tuple[str, str] | None:
    """Two of these roles that one person may not hold together, if any."""
    held = set(roles)
    return next(((a, b) for a, b in INCOMPATIBLE if a in held and b in held), None)

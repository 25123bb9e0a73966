"""The states of everything that has states, as tables: from where, by which event, to where.

`move` is the only way from one state to the next. What must be true before an event, and who may cause it, is decided
elsewhere (`ethics.gate`, `roles`).
"""

from collections.abc import Mapping, Sequence

from trialdm.domain.errors import WrongState

#: machine -> event -> (states that it may leave, state that it reaches)
MACHINES: Mapping[str, Mapping[str, tuple[tuple[str, ...], str]]] = {
    "trial": {
        "configure": (("draft",), "configured"),
        "submit": (("configured",), "submitted"),
        "approve": (("submitted",), "approved"),
        "open": (("approved",), "open"),
        "pause": (("open", "held"), "paused"),
        "resume": (("paused",), "open"),
        "hold": (("open",), "held"),
        "release": (("held",), "open"),
        "close": (("open", "paused", "held"), "closed_recruitment"),
        "follow-up": (("closed_recruitment",), "follow_up"),
        "lock": (("follow_up",), "locked"),
        "unlock": (("locked",), "follow_up"),
        "end": (("locked",), "ended"),
        "archive": (("ended", "early_terminated"), "archived"),
        "terminate": (("approved", "open", "paused", "held", "closed_recruitment", "follow_up", "locked"), "early_terminated"),
    },
    "site": {
        "select": (("identified",), "selected"),
        "set-up": (("selected",), "set_up"),
        "confirm": (("set_up",), "cc_confirmed"),
        "green-light": (("cc_confirmed",), "green_light"),
        "activate": (("green_light",), "open"),
        "suspend": (("open",), "suspended"),
        "resume": (("suspended",), "open"),
        "close": (("open", "suspended"), "closed"),
    },
    "participant": {
        "consent": (("screened",), "consented"),
        "pass-eligibility": (("consented", "ineligible"), "eligible"),
        "fail-eligibility": (("consented", "eligible"), "ineligible"),
        "randomise": (("eligible",), "randomised"),
        "record-randomisation": (("screened", "consented", "ineligible"), "randomised"),
        "operate": (("randomised",), "operated"),
        "not-operate": (("randomised",), "not_operated"),
        "follow-up": (("operated", "not_operated"), "follow_up"),
        "complete": (("follow_up",), "completed"),
        "withdraw": (
            ("consented", "eligible", "ineligible", "randomised", "operated", "not_operated", "follow_up", "completed"),
            "withdrawn",
        ),
        "lose": (("randomised", "operated", "not_operated", "follow_up"), "lost"),
        "find": (("lost",), "follow_up"),
        "die": (
            (
                "screened",
                "consented",
                "eligible",
                "ineligible",
                "randomised",
                "operated",
                "not_operated",
                "follow_up",
                "withdrawn",
                "lost",
                "completed",
            ),
            "died",
        ),
    },
    "case": {
        "operate": (("recorded",), "operated"),
        "follow-up": (("operated",), "follow_up"),
        "close": (("operated", "follow_up"), "closed"),
        "die": (("recorded", "operated", "follow_up", "closed"), "died"),
    },
    "form": {
        "save": (("blank", "draft"), "draft"),
        "finish": (("blank", "draft"), "complete"),
        "amend": (("complete", "verified", "signed"), "complete"),
        "verify": (("complete",), "verified"),
        "sign": (("complete", "verified"), "signed"),
        "annotate": (("signed",), "signed"),
        "void": (("verified", "signed"), "complete"),
        "remove": (("draft", "complete", "verified", "signed"), "removed"),
        "restore": (("removed",), "draft"),
    },
    "hold": {
        "freeze": (("free",), "frozen"),
        "thaw": (("frozen",), "free"),
        "ask-lock": (("frozen",), "lock_asked"),
        "decline-lock": (("lock_asked",), "frozen"),
        "lock": (("lock_asked",), "locked"),
        "ask-unlock": (("locked",), "unlock_asked"),
        "decline-unlock": (("unlock_asked",), "locked"),
        "unlock": (("unlock_asked",), "free"),
    },
    "query": {
        "answer": (("open", "reopened"), "answered"),
        "close": (("answered",), "closed"),
        "reopen": (("answered", "closed"), "reopened"),
        "cancel": (("open", "answered", "reopened"), "cancelled"),
        "settle": (("open", "answered", "reopened"), "closed"),
    },
    "scheme": {
        "commit": (("draft",), "committed"),
        "contribute": (("committed",), "contributed"),
        "withdraw": (("committed", "contributed"), "withdrawn"),
        "sign": (("committed", "contributed"), "live"),
        "pause": (("live",), "paused"),
        "resume": (("paused",), "live"),
        "supersede": (("live", "paused"), "superseded"),
        "close": (("live", "paused"), "closed"),
        "reveal": (("closed", "superseded"), "revealed"),
    },
    "blinding": {
        "ask": (("blinded",), "asked"),
        "confirm": (("asked",), "unblinded"),
    },
    "account": {
        "accept": (("invited",), "active"),
        "close": (("invited", "active"), "closed"),
        "reopen": (("closed",), "invited"),
    },
}

#: Steps by which something that was entered by mistake is taken back: machine -> event -> the states that it may leave. Each reaches
#: the newest state before them.
BACK: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "participant": {
        "reinstate": ("withdrawn", "lost", "died"),
        "correct": ("operated", "not_operated", "follow_up", "completed"),
    },
    "case": {"correct": ("operated", "follow_up", "closed", "died")},
}

#: The state in which each kind of thing starts.
INITIAL = {
    "trial": "draft",
    "site": "identified",
    "participant": "screened",
    "case": "recorded",
    "form": "blank",
    "hold": "free",
    "query": "open",
    "scheme": "draft",
    "blinding": "blinded",
    "account": "invited",
}

#: States of a trial in which its data are worked on.
RECORDING = ("open", "paused", "held", "closed_recruitment", "follow_up")

#: States of a form in which it is finished: what was done to it since stands beside it.
FINISHED = frozenset({"complete", "verified", "signed"})

#: States of a hold in which two people have locked what it covers.
LOCKED = ("locked", "unlock_asked")

#: States of a participant before the allocation.
BEFORE_ALLOCATION = ("screened", "consented", "eligible", "ineligible")

#: Steps of a participant by which they are randomised: before or after the facts.
RANDOMISING = ("randomise", "record-randomisation")

#: States of a participant in which nothing that needs consent is still to come.
OVER = frozenset({"ineligible", "withdrawn", "died", "lost", "completed"})

#: States shown to people.
LABELS = {
    "asked": "asked to be unblinded",
    "cc_confirmed": "capacity and capability confirmed",
    "closed_recruitment": "closed to recruitment",
    "early_terminated": "terminated early",
    "follow_up": "in follow-up",
    "green_light": "green light given",
    "held": "on hold for recruitment",
    "lock_asked": "frozen, lock asked for",
    "unlock_asked": "locked, unlocking asked for",
    "not_operated": "not operated",
    "set_up": "being set up",
}


def label(state: str) -> str:
    """A state in words."""
    return LABELS.get(state, state.replace("_", " "))


def events(machine: str, state: str) -> list[str]:
    """Events that lead on from a state."""
    return [event for event, (sources, _) in MACHINES[machine].items() if state in sources]


def may(machine: str, state: str, event: str) -> bool:
    """Whether the event leads on from this state."""
    return event in events(machine, state)


def move(machine: str, state: str, event: str) -> str:
    """The state after the event. Raises WrongState naming the states from which it would lead on."""
    transitions = MACHINES[machine]
    if event not in transitions:
        raise WrongState(
            f"There is no step '{event}' for a {machine}.",
            code=f"STATE.{machine.upper()}",
            needs=f"Steps from '{label(state)}': {', '.join(events(machine, state)) or 'none'}.",
        )
    sources, target = transitions[event]
    if state not in sources:
        raise WrongState(
            f"The {machine} is '{label(state)}': the step '{event}' does not lead on from there.",
            code=f"STATE.{machine.upper()}",
            needs=f"It needs to be {' or '.join(label(source) for source in sources)} first.",
        )
    return target


def way_back(machine: str, state: str) -> str:
    """The step of `BACK` that leaves a state, or nothing."""
    return next((event for event, sources in BACK.get(machine, {}).items() if state in sources), "")


def back(machine: str, passed: Sequence[str], event: str) -> str:
    """The state to which a step of `BACK` leads; `passed` are the states so far, oldest first. Raises WrongState."""
    sources = BACK[machine][event]
    if not passed or passed[-1] not in sources:
        raise WrongState(
            f"The {machine} is '{label(passed[-1] if passed else INITIAL[machine])}': the step '{event}' does not lead back from there.",
            code=f"STATE.{machine.upper()}",
            needs=f"It needs to be {' or '.join(label(source) for source in sources)} first.",
        )
    return next((state for state in reversed(passed) if state not in sources), INITIAL[machine])

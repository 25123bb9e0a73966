"""Everything that trialdm refuses, as one family of errors with permanent codes.

A door (page, API, command line) turns an error into its own kind of answer; it never invents one. This module knows
nothing about HTTP or exit codes: each door holds one table from these classes to its own numbers.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Detail:
    """One reason inside an error: where it is, what is wrong, and what would mend it."""

    code: str
    message: str
    place: str = ""
    needs: str = ""
    severity: str = "block"


class TrialError(Exception):
    """The base of every expected error. `code` is permanent: scripts may rely on it.

    `shows` holds what there is instead of what was asked for (the allocation that exists), as its reader may see it.
    """

    default_code = "ERROR"

    def __init__(
        self, message: str, *, code: str = "", needs: str = "", details: Sequence[Detail] = (), shows: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or self.default_code
        self.needs = needs
        self.details = tuple(details)
        self.shows = dict(shows or {})


class Invalid(TrialError):
    """What was sent cannot be right: a wrong type, an unknown name, a broken file. Nothing was saved."""

    default_code = "INVALID"


class Unanswered(Invalid):
    """Soft checks are waiting for somebody to confirm the values. Nothing was saved."""

    default_code = "CRF.CONFIRM"


class SignedOut(TrialError):
    """Nobody is signed in, or the session has ended."""

    default_code = "AUTH.SIGN_IN"


class Forbidden(TrialError):
    """The person may not do this: role, site, delegation or training."""

    default_code = "ROLE.FORBIDDEN"


class Refused(TrialError):
    """The approval gate refused: every reason is in `details`."""

    default_code = "GATE.REFUSED"


class TooMany(TrialError):
    """The person did this too often in a short time. `shows` holds the seconds after which it is possible again."""

    default_code = "BUDGET.SPENT"


class WrongState(TrialError):
    """The thing is in a state from which this step does not lead."""

    default_code = "STATE.REFUSED"


class Missing(TrialError):
    """There is no such thing, or this person may not know whether there is."""

    default_code = "NOT_FOUND"


class Conflict(TrialError):
    """It was done already in another way, or the same key was used for something else."""

    default_code = "CONFLICT"


class Stale(Conflict):
    """Somebody else saved in the meantime; nothing of theirs was overwritten."""

    default_code = "CRF.STALE"


class Unconditional(TrialError):
    """A change was sent without saying which version it starts from."""

    default_code = "CRF.VERSION_NEEDED"


class VaultAway(TrialError):
    """The identity vault does not answer. Everything that needs no identity goes on."""

    default_code = "VAULT.AWAY"


class Broken(TrialError):
    """A check of stored or exported data failed: what is there is not what was written."""

    default_code = "VERIFY.FAILED"

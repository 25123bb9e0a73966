"""The vault in another process: the same questions, asked over its socket. It is away where it does not answer in time."""

import socket
import time
from pathlib import Path
from typing import Any

from trialdm.domain import errors, identity
from trialdm.domain.errors import Detail, TrialError, VaultAway
from trialdm.domain.identity import Identity, Likeness, Waiting
from trialdm.identity import wire

#: Seconds to wait for the vault, and to leave it alone after it did not answer in time: whoever asks holds locks meanwhile.
PATIENCE, REST = 3.0, 10.0

_LATER = "Try again in a while; tell the administrator if it lasts."


class Asked:
    """The questions, one connection for each."""

    inside = False

    def __init__(self, path: Path, token: Path, views_per_hour: int = 5, patience: float = PATIENCE) -> None:
        self.path, self.token, self.views_per_hour, self.patience = path, token, views_per_hour, patience

        self._rests_until = 0.0

    def enter(self, trial: str, who: Identity, *, by: str, participant: str = "", different: bool = False) -> Likeness:
        return Likeness(**self._ask("enter", trial=trial, who=who.to_json(), by=by, participant=participant, different=different))

    def likeness(self, trial: str, who: Identity) -> Likeness:
        return Likeness(**self._ask("likeness", trial=trial, who=who.to_json()))

    def contains(self, trial: str, participant: str, text: str) -> tuple[str, ...]:
        return tuple(self._ask("contains", trial=trial, participant=participant, text=text))

    def show(self, trial: str, participant: str, *, by: str) -> Identity:
        return identity.from_json(self._ask("show", trial=trial, participant=participant, by=by))

    def settle(self, trial: str, participant: str) -> None:
        self._ask("settle", trial=trial, participant=participant)

    def withdraw(self, trial: str, participant: str) -> None:
        self._ask("withdraw", trial=trial, participant=participant)

    def waiting(self) -> list[Waiting]:
        return [Waiting(**one) for one in self._ask("waiting")]

    def shred(self, trial: str, participant: str, *, by: str) -> str:
        return str(self._ask("shred", trial=trial, participant=participant, by=by))

    def _ask(self, question: str, **values: Any) -> Any:
        if time.monotonic() < self._rests_until:
            raise VaultAway("The identity vault does not answer.", needs=_LATER)
        try:
            token = self.token.read_text("ascii").strip()
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
                connection.settimeout(self.patience)
                connection.connect(str(self.path))
                wire.send(connection, {"ask": question, "token": token, **values})
                answer = wire.receive(connection)
        except TimeoutError:
            self._rests_until = time.monotonic() + REST
            raise VaultAway("The identity vault does not answer.", needs=_LATER) from None
        except (OSError, EOFError, wire.BadFrame, ValueError):
            raise VaultAway(
                "The identity vault does not answer.", needs="Try again in a while; tell the administrator if it lasts."
            ) from None
        if "answer" not in answer:
            raise _problem(answer)
        return answer["answer"]


def _problem(answer: dict[str, Any]) -> TrialError:
    """What the vault refused, as the same error."""
    kind = getattr(errors, str(answer.get("kind")), VaultAway)
    kind = kind if isinstance(kind, type) and issubclass(kind, TrialError) else VaultAway
    details = [Detail(**one) for one in answer.get("details", ())]
    return kind(str(answer.get("message", "")), code=str(answer.get("code", "")), needs=str(answer.get("needs", "")), details=details)

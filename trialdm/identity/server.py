"""The vault as a process of its own, on a Unix socket. Who connects is known by the system (SO_PEERCRED) and by a shared token."""

import hmac
import logging
import os
import socket
import socketserver
import struct
import threading
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from trialdm.domain import identity
from trialdm.domain.errors import TrialError
from trialdm.domain.identity import Vault
from trialdm.identity import wire

#: Seconds that a connection may stay silent, and how many are served at a time.
SILENCE, AT_ONCE = 30.0, 32

_CREDENTIALS = struct.Struct("3i")


def _who(given: Mapping[str, Any]) -> Any:
    return identity.from_json(given["who"])


#: Question -> how it is put to the vault.
_QUESTIONS: dict[str, Callable[[Vault, dict[str, Any]], Any]] = {
    "enter": lambda vault, q: asdict(
        vault.enter(q["trial"], _who(q), by=q["by"], participant=q["participant"], different=q["different"] is True)
    ),
    "likeness": lambda vault, q: asdict(vault.likeness(q["trial"], _who(q))),
    "contains": lambda vault, q: vault.contains(q["trial"], q["participant"], q["text"]),
    "show": lambda vault, q: vault.show(q["trial"], q["participant"], by=q["by"]).to_json(),
    "settle": lambda vault, q: vault.settle(q["trial"], q["participant"]),
    "withdraw": lambda vault, q: vault.withdraw(q["trial"], q["participant"]),
    "waiting": lambda vault, q: [asdict(one) for one in vault.waiting()],
    "shred": lambda vault, q: vault.shred(q["trial"], q["participant"], by=q["by"]),
}


class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    """Listens for questions until it is stopped."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, vault: Vault, path: Path, token: str, allowed: Collection[int], mode: int = 0o600) -> None:
        self.vault, self.token, self.allowed = vault, token, frozenset(allowed)
        self.places = threading.BoundedSemaphore(AT_ONCE)
        path.unlink(missing_ok=True)
        before = os.umask(0o777 & ~mode)
        try:
            super().__init__(str(path), _Questions)
        finally:
            os.umask(before)
        path.chmod(mode)

    def verify_request(self, request: Any, client_address: Any) -> bool:
        """Whether the system says that an allowed user is at the other end."""
        return peer(request) in self.allowed

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        with self.places:
            super().process_request_thread(request, client_address)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A connection that broke; nothing of what it carried goes into a log."""
        logging.getLogger("trialdm.identity").warning("a connection ended with a fault")


def peer(connection: socket.socket) -> int:
    """The user at the other end of a Unix socket, as the system knows it."""
    _, uid, _ = _CREDENTIALS.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
    return int(uid)


class _Questions(socketserver.BaseRequestHandler):
    server: Server

    def handle(self) -> None:
        self.request.settimeout(SILENCE)
        while True:
            try:
                asked = wire.receive(self.request)
            except (EOFError, TimeoutError, ConnectionError):
                return
            except wire.BadFrame:
                wire.send(self.request, _problem("VAULT.MESSAGE", "The message cannot be read."))
                return
            if not hmac.compare_digest(str(asked.get("token", "")).encode(), self.server.token.encode()):
                wire.send(self.request, _problem("VAULT.TOKEN", "The token is not the vault's."))
                return
            wire.send(self.request, self._answer(asked))

    def _answer(self, asked: dict[str, Any]) -> dict[str, Any]:
        question = _QUESTIONS.get(str(asked.get("ask")))
        if question is None:
            return _problem("VAULT.MESSAGE", "The vault does not answer this.")
        try:
            return {"answer": question(self.server.vault, asked)}
        except TrialError as problem:
            details = [vars(detail) for detail in problem.details]
            return {
                "kind": type(problem).__name__,
                "code": problem.code,
                "message": problem.message,
                "needs": problem.needs,
                "details": details,
            }
        except (KeyError, TypeError, ValueError, AttributeError):
            return _problem("VAULT.MESSAGE", "The question is not whole.")
        except Exception as fault:  # the kind of a fault may be known; what it was about may not
            logging.getLogger("trialdm.identity").error("fault: %s", type(fault).__name__)
            return _problem("VAULT.FAULT", "The vault had a fault.")


def _problem(code: str, message: str) -> dict[str, Any]:
    return {"kind": "VaultAway", "code": code, "message": message, "needs": "Tell the administrator.", "details": []}

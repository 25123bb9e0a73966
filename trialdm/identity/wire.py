"""What goes over the socket: a length of four bytes, then one JSON document of at most a mebibyte."""

import json
import socket
import struct
from typing import Any

LARGEST = 1024 * 1024

_LENGTH = struct.Struct("!I")


class BadFrame(Exception):
    """What came is no message: too large, cut off, or no JSON object."""


def send(connection: socket.socket, document: dict[str, Any]) -> None:
    """Send one document. Raises BadFrame for one that is too large."""
    content = json.dumps(document).encode()
    if len(content) > LARGEST:
        raise BadFrame("too large")
    connection.sendall(_LENGTH.pack(len(content)) + content)


def receive(connection: socket.socket) -> dict[str, Any]:
    """The next document. Raises BadFrame, and EOFError where the other side has gone."""
    (length,) = _LENGTH.unpack(_exactly(connection, _LENGTH.size))
    if length > LARGEST:
        raise BadFrame("too large")
    try:
        document = json.loads(_exactly(connection, length))
    except (ValueError, RecursionError):
        raise BadFrame("no JSON") from None
    if not isinstance(document, dict):
        raise BadFrame("no object")
    return document


def _exactly(connection: socket.socket, length: int) -> bytes:
    found = b""
    while len(found) < length:
        part = connection.recv(min(length - len(found), 65536))
        if not part:
            raise EOFError
        found += part
    return found

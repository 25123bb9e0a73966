"""What the service writes down of itself: one JSON object a line, on standard error, for whatever collects logs.

A line of a request names the route, never the address, and the account by its number in the database: no pseudonym, no e-mail address, no
value of a form and no secret stands in it. A fault is written as the places in the program where it came from, without its message,
which could quote what somebody typed.
"""

import json
import logging
import sys
import time
import traceback
from datetime import UTC, datetime
from typing import Any

from flask import Flask, Response, g, request

from trialdm.services.unit import NOBODY

_LOG = logging.getLogger("trialdm.requests")

#: What a line of a request may hold beside what every line holds.
FIELDS = ("event", "request", "method", "route", "status", "ms", "bytes", "account", "door", "code")


class Lines(logging.Formatter):
    """A record of the log as one line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
        }
        about = getattr(record, "about", None)
        line |= about if isinstance(about, dict) else {"event": record.getMessage()}
        if record.exc_info and record.exc_info[0] is not None:
            line["fault"] = record.exc_info[0].__name__
            line["places"] = [f"{f.filename.rpartition('/')[2]}:{f.lineno} {f.name}" for f in traceback.extract_tb(record.exc_info[2])]
        return json.dumps(line, ensure_ascii=True)


def to_standard_error(level: int = logging.INFO) -> None:
    """Write the log of this process as lines of JSON; libraries are heard from warnings on."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Lines())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger("trialdm").setLevel(level)


def register(app: Flask) -> None:
    """Write a line for every request."""
    app.before_request(_started)
    app.after_request(_line)


def _started() -> None:
    g.started = time.perf_counter()


def note(code: str) -> None:
    """The code of a refusal, for the line of this request."""
    g.refused = code


def _line(answer: Response) -> Response:
    if request.endpoint in ("static", "bootstrap.static", "healthz", "readyz"):
        return answer
    person = g.get("actor", NOBODY)
    values = (
        "request",
        g.get("request_id", ""),
        request.method,
        request.url_rule.rule if request.url_rule else "",
        answer.status_code,
        round((time.perf_counter() - g.get("started", time.perf_counter())) * 1000),
        answer.content_length if not answer.is_streamed else None,
        person.id,
        person.door if person is not NOBODY else "",
        g.get("refused", ""),
    )
    about = {name: value for name, value in zip(FIELDS, values, strict=True) if value not in ("", None)}
    _LOG.log(
        logging.WARNING if answer.status_code in (401, 403, 429) or answer.status_code >= 500 else logging.INFO, "", extra={"about": about}
    )
    return answer

"""Errors as pages, and for the API as `application/problem+json`: one table for both."""

import logging
from typing import Any
from urllib.parse import urlsplit

from flask import Flask, Response, g, json, redirect, render_template, request, url_for
from werkzeug.exceptions import HTTPException
from werkzeug.wrappers import Response as AnyResponse

from trialdm.domain import errors
from trialdm.domain.errors import Detail, TrialError
from trialdm.door import logs
from trialdm.door.security import FEED, host_of
from trialdm.services.unit import Unproved

_STATUS: tuple[tuple[type[TrialError], int], ...] = (
    (errors.SignedOut, 401),
    (errors.Refused, 403),
    (errors.Forbidden, 403),
    (errors.Missing, 404),
    (errors.Stale, 412),
    (errors.TooMany, 429),
    (errors.Unconditional, 428),
    (errors.Conflict, 409),
    (errors.WrongState, 409),
    (errors.Invalid, 422),
    (errors.VaultAway, 503),
    (errors.Broken, 500),
    (TrialError, 400),
)

_TITLES = {
    400: "The request cannot be read",
    401: "Sign in first",
    403: "This is not allowed",
    404: "There is no such thing here",
    405: "This cannot be done here",
    409: "This cannot be done now",
    412: "Somebody else saved in the meantime",
    413: "The file is too large",
    415: "The request is of the wrong type",
    422: "Something needs to be put right",
    428: "The request has to say more",
    429: "Too much at once",
    500: "Something went wrong",
    503: "The identity vault does not answer",
}


def status_of(problem: TrialError) -> int:
    """The HTTP status of an error."""
    return next(status for kind, status in _STATUS if isinstance(problem, kind))


def register(app: Flask) -> None:
    """Handle every error of the application here."""
    app.register_error_handler(TrialError, _expected)
    app.register_error_handler(Unproved, _unproved)
    app.register_error_handler(HTTPException, _http)
    app.register_error_handler(RecursionError, _too_deep)
    app.register_error_handler(Exception, _fault)


def _expected(problem: TrialError) -> AnyResponse:
    status = status_of(problem)
    if status == 401 and request.method == "GET" and not _wants_json():
        return redirect(url_for("sign_in.form", next=request.full_path.rstrip("?")))
    return _answer(problem, status, _TITLES[status])


def _unproved(_problem: Unproved) -> AnyResponse:
    return redirect(url_for("account.proving", next=_page_of_request()), 303)


def _page_of_request() -> str:
    """The page to come back to: the one that was asked for, or the one whose form was sent."""
    if request.method == "GET":
        return request.full_path.rstrip("?")
    came_from = request.referrer or ""
    return urlsplit(came_from).path if host_of(came_from) == request.host else ""


def _answer(problem: TrialError, status: int, title: str) -> Response:
    """The error as the caller reads it: problem+json for the API, a page for people."""
    logs.note(problem.code)
    if _wants_json():
        answer = problem_json(problem, status)
    else:
        answer = Response(render_template("error.html", status=status, title=title, problem=problem), status)
    if status == 429:
        answer.headers["Retry-After"] = str(problem.shows.get("retry_after", 60))
    return answer


def _http(problem: HTTPException) -> AnyResponse:
    status = problem.code or 500
    if 300 <= status < 400:
        return Response(status=status, headers=dict(problem.get_headers()))
    named = TrialError(_words(status, problem), code=f"HTTP.{status}", details=_fields(problem))
    answer = _answer(named, status, _TITLES.get(status, problem.name))
    if status == 405 and getattr(problem, "valid_methods", None):
        answer.headers["Allow"] = ", ".join(problem.valid_methods)  # type: ignore[attr-defined]
    return answer


def _fields(problem: HTTPException) -> list[Detail]:
    """One detail for each field of a request that the schema refused."""
    messages = getattr(problem, "data", {}).get("messages", {}) if isinstance(getattr(problem, "data", None), dict) else {}
    found = []
    for place, fields in messages.items():
        for name, texts in fields.items() if isinstance(fields, dict) else [(place, fields)]:
            found += [Detail("HTTP.FIELD", str(text), str(name)) for text in (texts if isinstance(texts, list) else [texts])]
    return found


def _words(status: int, problem: HTTPException) -> str:
    if status == 404:
        return "Check the address, or start again from your trials."
    if status == 413:
        return "What was sent is larger than the service reads."
    if status in (400, 405, 415):
        return "The request was not sent in a form that the service understands."
    return problem.description or problem.name


def _too_deep(problem: RecursionError) -> AnyResponse:
    """What was sent is nested deeper than can be read."""
    return _expected(errors.Invalid("What was sent is nested too deeply.", code="HTTP.DEPTH"))


def _fault(problem: Exception) -> AnyResponse:
    """A fault of the program: logged with its place, told without one. Nothing was saved."""
    logging.getLogger("trialdm").error("fault %s", g.get("request_id", ""), exc_info=problem)
    named = TrialError(f"Nothing was saved. Tell the administrator this number: {g.get('request_id', '')}.", code="FAULT")
    return _answer(named, 500, _TITLES[500])


def _wants_json() -> bool:
    return request.path.startswith("/api/")


def problem_json(problem: TrialError, status: int) -> Response:
    """RFC 9457, with a permanent `code`, what would mend it, and one entry for each reason."""
    body: dict[str, Any] = {
        "type": f"/help/errors#{problem.code.partition('.')[0]}",
        "title": _TITLES.get(status, "The request failed"),
        "status": status,
        "detail": problem.message,
        "code": problem.code,
        "needs": problem.needs,
        "errors": [vars(detail) for detail in problem.details],
    }
    body |= problem.shows
    answer = Response(json.dumps(body), status, mimetype="application/problem+json")
    if status == 401:
        answer.headers["WWW-Authenticate"] = f'{"Basic" if request.path.endswith(FEED) else "Bearer"} realm="trialdm"'
    return answer

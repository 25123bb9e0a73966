"""What somebody typed into the fields of a form, and how it is read: dates as they are written in Britain become ISO dates.

Fields are named `answer.ITEM` and `missing.ITEM`. A date may be typed as 7/3/2026 (the day first) or 2026-03-07. Everything that
cannot be read is handed on as it was typed: the judge of answers says what is expected.
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from flask import request
from werkzeug.datastructures import MultiDict

from trialdm.domain import values
from trialdm.domain.crf import Answers, Form
from trialdm.domain.errors import Invalid, TrialError
from trialdm.services.records import Submission

#: Choice of the missing reason by which an answer is taken back.
CLEAR = "clear"

_DAY_FIRST = re.compile(r"([0-9]{1,2})[/. -]([0-9]{1,2})[/. -]([0-9]{4})", re.ASCII)
_MONTH_FIRST = re.compile(r"([0-9]{1,2})[/. -]([0-9]{4})", re.ASCII)
_CLOCK = re.compile(r"([0-9]{1,2})[.:]?([0-9]{2})", re.ASCII)


@dataclass(frozen=True)
class Typed:
    """What stands in the fields: texts, and a list of codes where several may be chosen."""

    answers: Mapping[str, Any] = field(default_factory=dict)
    missing: Mapping[str, str] = field(default_factory=dict)

    def read(self, form: Form) -> dict[str, Any]:
        """The answers as they are sent to be judged."""
        return {name: normal(form.by_name[name].type, raw) for name, raw in self.answers.items()}


def of_stored(answers: Answers) -> Typed:
    """Stored answers as they stand in the fields."""
    return Typed({name: _text(values.write(value)) for name, value in answers.values.items()}, answers.missing)


def _text(raw: Any) -> Any:
    return [str(code) for code in raw] if isinstance(raw, list) else str(raw).replace("T", " ") if _is_moment(raw) else str(raw)


def _is_moment(raw: Any) -> bool:
    return isinstance(raw, str) and bool(re.fullmatch(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}", raw))


def of_request(form: Form, sent: MultiDict[str, str], hidden: Collection[str]) -> Typed:
    """What a request sends for the items that the reader sees; an answer that is taken back is left out."""
    answers: dict[str, Any] = {}
    missing: dict[str, str] = {}
    for item in form.items:
        if item.name in hidden or not item.typed_in:
            continue
        given = sent.getlist(f"answer.{item.name}")
        reason = sent.get(f"missing.{item.name}", "")
        if reason == CLEAR:
            continue
        if any(text.strip() for text in given):
            answers[item.name] = given if item.type == "multi" else given[-1]
        if reason:
            missing[item.name] = reason
    return Typed(answers, missing)


def without_question(form: Form, sent: MultiDict[str, str]) -> list[tuple[str, str]]:
    """What a request sends for items that the form does not have: they were there when it was opened."""
    names = [key.removeprefix("answer.") for key in sent if key.startswith("answer.")]
    typed = [(name, ", ".join(text for text in sent.getlist(f"answer.{name}") if text.strip())) for name in names]
    return [(name, words) for name, words in typed if words and name not in form.by_name]


def submission(form: Form, typed: Typed, sent: MultiDict[str, str]) -> Submission:
    """What is to be saved."""
    code, text = sent.get("reason_code", ""), sent.get("reason_text", "").strip()
    version, definition = (_number(sent.get(name, "")) for name in ("version", "definition"))
    return Submission(
        typed.read(form),
        typed.missing,
        complete=sent.get("save") in ("complete", "another"),
        reason=": ".join(part for part in (code, text) if part),
        confirm=tuple(sent.getlist("confirm")),
        version=version,
        definition=definition,
        notes={name.removeprefix("note."): text for name, text in sent.items() if name.startswith("note.") and text.strip()},
    )


def _number(text: str) -> int | None:
    return int(text) if text.isdecimal() and len(text) < 10 else None


def normal(type_name: str, raw: Any) -> Any:
    """A typed date or time in ISO form where it can be read as one; anything else as it is."""
    if not isinstance(raw, str):
        return raw
    text = raw.strip()
    match type_name:
        case "date":
            return _date(text)
        case "pdate":
            found = _MONTH_FIRST.fullmatch(text)
            return f"{found[2]}-{int(found[1]):02d}" if found else _date(text)
        case "time":
            return _time(text)
        case "dtm":
            day, _, time = text.replace(",", " ").rpartition(" ")
            return f"{_date(day.strip())} {_time(time)}" if day else text
    return raw


class NoDay(Invalid):
    """A field that asks a day holds nothing, or something else."""

    def __init__(self, field: str, message: str, code: str) -> None:
        super().__init__(message, code=code, needs="A day such as 7/3/2026 or 2026-03-07.")
        self.field = field


def place(problem: TrialError | None, fields: Mapping[str, str]) -> str:
    """The field of a page that an error is about, by its code; nothing where no one field mends it."""
    if problem is None:
        return ""
    return problem.field if isinstance(problem, NoDay) else fields.get(problem.code, "")


def day(field: str, *, code: str = "REGISTER.DAY") -> date:
    """The day in a field of the request. Raises NoDay where there is none, or none can be read."""
    found = some_day(field, code=code)
    if found is None:
        raise NoDay(field, "Give the day.", code)
    return found


def some_day(field: str, *, code: str = "REGISTER.DAY") -> date | None:
    """The day in a field of the request, or None where it is empty. Raises NoDay where it cannot be read."""
    text = request.form.get(field, "").strip()
    try:
        return date.fromisoformat(normal("date", text)) if text else None
    except ValueError:
        raise NoDay(field, f"'{text}' is not a day.", code) from None


def upload(field: str) -> tuple[str, bytes]:
    """The name and content of the file in a field of the request; both empty where there is none.

    A file can be read once only: this is called outside the use case, which may run again.
    """
    sent = request.files.get(field)
    return (sent.filename, sent.read()) if sent and sent.filename else ("", b"")


def _date(text: str) -> str:
    found = _DAY_FIRST.fullmatch(text)
    return f"{found[3]}-{int(found[2]):02d}-{int(found[1]):02d}" if found else text


def _time(text: str) -> str:
    found = _CLOCK.fullmatch(text)
    return f"{int(found[1]):02d}:{found[2]}" if found else text

"""What every command works with: the global options, the instance, and how files are read and answers are printed."""

import json
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any, TypeVar

import click

from trialdm import instance as instances
from trialdm import settings as files
from trialdm.domain import errors
from trialdm.instance import Instance
from trialdm.services import people
from trialdm.services.unit import LONDON, SYSTEM, Actor, Unit

Result = TypeVar("Result")


@dataclass
class Terminal:
    """What the global options say, and the instance once it is needed."""

    folder: Path = field(default_factory=files.default_folder)
    email: str = ""
    as_json: bool = False
    _instance: Instance | None = None

    @property
    def instance(self) -> Instance:
        if self._instance is None:
            self._instance = instances.open_folder(self.folder)
        return self._instance

    def close(self) -> None:
        """Let go of the database, where it was opened."""
        if self._instance is not None:
            self._instance.engine.dispose()

    def actor(self, *, needed: bool = True) -> Actor:
        """The account named by --as; SYSTEM where none is named and none is needed."""
        if not self.email:
            if needed:
                raise click.UsageError("Say who acts: --as EMAIL")
            return SYSTEM
        with self.instance.units.reading(SYSTEM) as unit:
            return people.actor(unit, people.by_email(unit, self.email), "command line", uuid.uuid4().hex[:12])

    def change(self, work: Callable[[Unit], Result]) -> Result:
        """Run a use case that writes, as the named account."""
        return self.instance.units.run(self.actor(), work)

    def read(self, work: Callable[[Unit], Result], *, anybody: bool = False) -> Result:
        """Run a use case that only reads."""
        with self.instance.units.reading(self.actor(needed=not anybody)) as unit:
            return work(unit)

    def say(self, document: Any, words: str = "") -> None:
        """The answer: one JSON document, or words."""
        if self.as_json:
            click.echo(json.dumps(document, ensure_ascii=False, indent=1))
        else:
            click.echo(words or json.dumps(document, ensure_ascii=False, indent=1))


pass_terminal = click.make_pass_decorator(Terminal)


def day(_context: Any, _option: Any, text: str | None) -> date | None:
    """A day that was typed, as a callback of an option."""
    try:
        return date.fromisoformat(text) if text else None
    except ValueError:
        raise click.BadParameter(f"'{text}' is not a date such as 2026-03-01") from None


def moment(_context: Any, _option: Any, text: str | None) -> datetime | None:
    """A moment as given, or the end of a day in Europe/London."""
    if not text:
        return None
    try:
        if len(text) == 10:
            midnight = datetime.combine(date.fromisoformat(text) + timedelta(days=1), time.min, LONDON)
            return midnight.astimezone(UTC) - timedelta(microseconds=1)
        given = datetime.fromisoformat(text)
    except ValueError:
        raise click.BadParameter(f"'{text}' is not a moment such as 2026-03-31 or 2026-03-31T17:00:00+00:00") from None
    return (given if given.tzinfo else given.replace(tzinfo=LONDON)).astimezone(UTC)


def bytes_of(path: Path) -> bytes:
    """The content of a file. Raises Invalid where it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as problem:
        raise errors.Invalid(f"{path} cannot be read: {problem.strerror}.", code="FILE.UNREADABLE") from None


def text_of(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except OSError as problem:
        raise errors.Invalid(f"{path} cannot be read: {problem.strerror}.", code="FILE.UNREADABLE") from None
    except UnicodeDecodeError:
        raise errors.Invalid(f"{path} is not UTF-8 text.", code="FILE.UNREADABLE") from None


class _Path(click.Path):
    def __init__(self) -> None:
        super().__init__(path_type=Path)


PATH = _Path()


def write_text(out: Path, text: str) -> None:
    """A text as it is. Raises Invalid where it cannot be written."""
    write_bytes(out, text.encode())


def write_bytes(out: Path, content: bytes) -> None:
    """The content of a file. Raises Invalid where it cannot be written."""
    try:
        out.write_bytes(content)
    except OSError as problem:
        raise errors.Invalid(f"{out} cannot be written: {problem.strerror}.", code="FILE.UNWRITABLE") from None

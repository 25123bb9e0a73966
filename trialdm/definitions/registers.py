"""The files of `ethics/TRIAL/` to approvals and documents, or every problem in them at once.

Checks formats of references (warnings in the guide, refusals only where nothing could be meant), sites against the
protocol, and statuses against what each body can decide.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from trialdm.definitions import schemas
from trialdm.definitions.sources import BadDefinition, Problem, Source, check, read
from trialdm.domain.ethics import BODIES, GOOD, SITE_BODIES, Approval, Condition, Document, Register
from trialdm.domain.protocol import NATIONS, Protocol

#: Formats of references (domain knowledge of HRA and registries); bodies that are not named take any text.
FORMATS = {
    "rec": (r"\d{2}/[A-Z]{2}/\d{4}", "a REC reference such as 25/NE/0123"),
    "hra_hcrw": (r"\d{5,7}", "an IRAS number of five to seven digits"),
    "registry": (r"ISRCTN\d{8}|NCT\d{8}", "ISRCTN or NCT and eight digits"),
}


@dataclass(frozen=True)
class Ethics:
    """What one ethics folder records, in the order of the files."""

    approvals: tuple[Approval, ...]
    documents: tuple[Document, ...]


def fits(body: str, ref: str) -> bool:
    """Whether a reference is written as the body writes its references."""
    return body not in FORMATS or re.fullmatch(FORMATS[body][0], ref) is not None


def load_ethics(
    texts: Mapping[str, str],
    protocol: Protocol,
    *,
    shift: timedelta = timedelta(0),
    letters: Mapping[str, str] | None = None,
    today: date | None = None,
) -> Ethics:
    """Approvals and documents of a trial. Raises BadDefinition with every problem.

    `shift` moves every date by the same number of days: a demonstration lays the register around its own day. `letters` are
    the digests of the files beside the register, by path (None: they are not looked at); decisions after `today` are refused.
    """
    problems: list[Problem] = []
    approvals: list[Approval] = []
    documents: list[Document] = []
    for path, text in texts.items():
        source, found = read(path, text)
        problems += found
        name = path.rpartition("/")[2]
        if source.data is None:
            continue
        if name == "approvals.yaml":
            raw, found = check(source, schemas.ApprovalsSchema())
            problems += [*found, *_approval_problems(source, raw, protocol), *_letter_problems(source, "approvals", "letter", raw, letters)]
            rows = [_approval(row, shift, letters or {}) for row in raw.get("approvals", [])]
            problems += _order_problems(source, rows, today)
            approvals += rows
        elif name == "documents.yaml":
            raw, found = check(source, schemas.DocumentsSchema())
            problems += [*found, *_document_problems(source, raw, protocol), *_letter_problems(source, "documents", "file", raw, letters)]
            documents += [_document(row, shift, letters or {}) for row in raw.get("documents", [])]
        else:
            problems.append(Problem(path, 1, "this file has no place in an ethics folder: approvals.yaml, documents.yaml"))
    if problems:
        raise BadDefinition(problems)
    return Ethics(tuple(approvals), tuple(documents))


def _moved(day: date | None, shift: timedelta) -> date | None:
    return day + shift if day else None


def _approval(raw: Mapping[str, Any], shift: timedelta, letters: Mapping[str, str]) -> Approval:
    return Approval(
        body=raw["body"],
        status=raw["status"],
        ref=raw.get("ref", ""),
        nations=tuple(raw.get("nations", ())),
        site=raw.get("site", ""),
        submitted_on=_moved(raw.get("submitted_on"), shift),
        valid_on=_moved(raw.get("valid_on"), shift),
        decided_on=_moved(raw.get("decided_on"), shift),
        effective_from=_moved(raw.get("effective_from"), shift),
        effective_to=_moved(raw.get("effective_to"), shift),
        agreement_signed_on=_moved(raw.get("agreement_signed_on"), shift),
        conditions=tuple(
            Condition(c["text"], c["pre_start"], _moved(c.get("met_on"), shift), c.get("evidence", "")) for c in raw["conditions"]
        ),
        recorded_by=raw["recorded_by"],
        second_check_by=raw["second_check_by"],
        letter=raw.get("letter", ""),
        sha256=letters.get(raw.get("letter", ""), ""),
        supersedes=raw.get("supersedes", ""),
        covers=tuple(raw["covers"]),
    )


def _document(raw: Mapping[str, Any], shift: timedelta, letters: Mapping[str, str]) -> Document:
    return Document(
        kind=raw["kind"],
        code=raw["code"],
        version=raw["version"].removeprefix("v"),
        dated=raw["dated"] + shift,
        approved_on=_moved(raw.get("approved_on"), shift),
        effective_from=raw["effective_from"] + shift,
        superseded_on=_moved(raw.get("superseded_on"), shift),
        nations=tuple(raw.get("nations", NATIONS)),
        sites={site: day + shift for site, day in raw["sites"].items()},
        revoked_on=_moved(raw.get("revoked_on"), shift),
        modification=raw.get("modification", ""),
        reconsent=raw.get("reconsent", ""),
        file=raw.get("file", ""),
        sha256=letters.get(raw.get("file", ""), ""),
    )


def _approval_problems(source: Source, raw: Mapping[str, Any], protocol: Protocol) -> Iterable[Problem]:
    yield from _wrong_trial(source, raw, protocol)
    sites = {site.code for site in protocol.sites}
    for i, row in enumerate(raw.get("approvals", [])):
        place, body = ("approvals", i), row["body"]
        if row["status"] not in BODIES[body]:
            yield source.problem((*place, "status"), f"{body} cannot be '{row['status']}': one of {', '.join(BODIES[body])}")
        if body in SITE_BODIES and "site" not in row:
            yield source.problem(place, f"{body} is a decision about one site: 'site' is missing")
        if body not in SITE_BODIES and "site" in row:
            yield source.problem((*place, "site"), f"{body} is not a decision about one site")
        if "site" in row and row["site"] not in sites:
            yield source.problem((*place, "site"), f"trial {protocol.id} has no site '{row['site']}'")
        if row["recorded_by"] and row["recorded_by"] == row["second_check_by"]:
            yield source.problem((*place, "second_check_by"), "the second check is made by somebody else than who recorded it")
        if row.get("ref") and not fits(body, row["ref"]):
            yield source.problem((*place, "ref"), f"'{row['ref']}' is not {FORMATS[body][1]}")
        if not any(key in row for key in ("decided_on", "effective_from", "submitted_on")):
            yield source.problem(place, "a decision needs a date: decided_on, effective_from or submitted_on")
        elif row["status"] in GOOD and "decided_on" not in row and "effective_from" not in row:
            yield source.problem(place, f"'{row['status']}' needs the day of the decision: decided_on or effective_from")
        first, last = row.get("effective_from", row.get("decided_on")), row.get("effective_to")
        if first and last and last < first:
            yield source.problem((*place, "effective_to"), f"it ends on {last}, before it begins on {first}")


def _order_problems(source: Source, rows: Sequence[Approval], today: date | None) -> Iterable[Problem]:
    """Decisions that lie in the future, and that are in force over the same days as another one of the same body."""
    for i, row in enumerate(rows):
        days = [d for d in (row.submitted_on, row.valid_on, row.decided_on, row.agreement_signed_on) if d]
        if today is not None and any(day > today for day in days):
            yield source.problem(("approvals", i), f"it is dated {max(days)}, which is in the future")
        other = Register(approvals=tuple(rows[:i])).overlapping(row)
        if other is not None:
            yield source.problem(
                ("approvals", i),
                f"{row.body} '{other.ref}' is in force over the same days: say 'supersedes: \"{other.ref}\"', or correct the days",
            )


def _letter_problems(source: Source, part: str, key: str, raw: Mapping[str, Any], letters: Mapping[str, str] | None) -> Iterable[Problem]:
    """Files that are named and not there, or are not the ones whose digest is given."""
    for i, row in enumerate(raw.get(part, [])) if letters is not None else ():
        path, given = row.get(key, ""), row.get("sha256", "").lower()
        if path and path not in letters:
            yield source.problem((part, i, key), f"there is no file '{path}' beside the register")
        elif path and given and given != letters[path]:
            yield source.problem((part, i, "sha256"), f"'{path}' has another SHA-256: {letters[path]}")
        elif given and not path:
            yield source.problem((part, i, "sha256"), f"a digest without a file: name it under '{key}'")


def _document_problems(source: Source, raw: Mapping[str, Any], protocol: Protocol) -> Iterable[Problem]:
    yield from _wrong_trial(source, raw, protocol)
    sites = {site.code for site in protocol.sites}
    seen: set[tuple[str, int]] = set()
    for i, row in enumerate(raw.get("documents", [])):
        place = ("documents", i)
        if (row["kind"], row["code"]) in seen:
            yield source.problem((*place, "code"), f"{row['kind']} {row['code']} is given twice")
        seen.add((row["kind"], row["code"]))
        for site in row["sites"]:
            if site not in sites:
                yield source.problem((*place, "sites", site), f"trial {protocol.id} has no site '{site}'")
        if row.get("superseded_on") and row["superseded_on"] < row["effective_from"]:
            yield source.problem((*place, "superseded_on"), "it is superseded before it is in use")


def _wrong_trial(source: Source, raw: Mapping[str, Any], protocol: Protocol) -> Iterable[Problem]:
    if raw and raw["trial"] != protocol.id:
        yield source.problem(("trial",), f"this file belongs to trial '{raw['trial']}', not to '{protocol.id}'")

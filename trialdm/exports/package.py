"""A dataset as a folder: data files in each format, a codebook, a manifest, and proof that everything was read back.

The folder appears under its name only after every file has been verified. The same request over the same rows gives the
same bytes, except for `request.json` (who asked, when and why), which stands outside the manifest. Knows nothing of the
database: rows are handed in, and `verify_package` needs nothing but the folder.
"""

import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from trialdm.domain.errors import Broken, Conflict, Detail, Invalid, Missing
from trialdm.exports import codebook, delimited, dta, sav, verify
from trialdm.exports.dataset import Column, Frame, StoredRow, Table, frame

FORMAT = "trialdm-package/1"

_WRITERS: dict[str, Callable[..., None]] = {"sav": sav.write, "dta": dta.write, "csv": delimited.write}

#: The formats that can be asked for.
FORMATS = tuple(_WRITERS)

_MANIFEST, _REQUEST = "manifest.json", "request.json"


@dataclass(frozen=True)
class Identity:
    """What a package is: the same identity over the same rows gives the same package. `as_of` is a UTC instant."""

    trial: str
    protocol_version: str
    software_version: str
    blinding: str
    layout: str
    as_of: datetime

    def to_json(self) -> dict[str, str]:
        as_of = self.as_of.astimezone(UTC) if self.as_of.tzinfo else self.as_of.replace(tzinfo=UTC)
        return {**vars(self), "as_of": as_of.isoformat().replace("+00:00", "Z")}


def write_package(
    directory: Path,
    *,
    identity: Identity,
    tables: Sequence[tuple[Table, Iterable[StoredRow]]],
    formats: Sequence[str] = FORMATS,
    request: Mapping[str, Any],
    consent: Callable[[], Mapping[str, Any]] = dict,
) -> dict[str, Any]:
    """Write and verify a package; returns its manifest.

    Each table's rows are read once, in the order in which they come; `consent` then says what was left out of them for want of
    consent, which the manifest tells. Raises Conflict where `directory` holds something,
    Invalid for an unknown format or two tables of one name, and Broken where what was written is not what was meant; then
    no package is left behind.
    """
    chosen = _formats(formats)
    _distinct(tables)
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise Conflict(f"{directory} is not empty.", code="EXPORT.NOT_EMPTY", needs="an empty or new folder")
    directory.parent.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(prefix=f".{directory.name}.unfinished-", dir=directory.parent))
    try:
        manifest = _fill(unfinished, identity, tables, chosen, request, consent)
        unfinished.rename(directory)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise
    return manifest


def verify_package(directory: Path) -> dict[str, Any]:
    """Check a package against its manifest: every file's size and SHA-256, no file missing or extra, and every table read
    again from every format against its hash.

    Returns what was checked. Raises Missing where there is no package, and Broken with every difference in `details`.
    """
    manifest = _manifest(directory)
    try:
        found = [*_file_differences(directory, manifest), *_table_differences(directory, manifest)]
    except (KeyError, TypeError, AttributeError, ValueError):
        raise Broken(f"{_MANIFEST} or {_REQUEST} is damaged.", code="EXPORT.MANIFEST") from None
    if found:
        message = f"The package differs from its manifest: {found[0].message}"
        raise Broken(message, code="EXPORT.PACKAGE", details=found)
    tables = [{"name": table["name"], "rows": table["rows"], "hash": table["hash"]} for table in manifest["tables"]]
    return {"verified": True, "trial": manifest["trial"], "files": len(manifest["files"]), "tables": tables}


# --- writing ---------------------------------------------------------------------------------------------------------


def _formats(asked: Sequence[str]) -> list[str]:
    unknown = [name for name in asked if name not in _WRITERS]
    if unknown or not asked:
        needs = f"one or more of {', '.join(FORMATS)}"
        raise Invalid(f"There is no export format '{', '.join(unknown)}'.", code="EXPORT.FORMAT", needs=needs)
    return [name for name in FORMATS if name in asked]


def _distinct(tables: Sequence[tuple[Table, Iterable[StoredRow]]]) -> None:
    seen: set[str] = set()
    for name in (table.name for table, _ in tables):
        if name.lower() in seen or not name.replace("_", "").isalnum() or not name.isascii():
            raise Invalid(f"The table name '{name}' is there twice, or is not a plain name.", code="EXPORT.NAME")
        seen.add(name.lower())


def _fill(
    folder: Path,
    identity: Identity,
    tables: Sequence[tuple[Table, Iterable[StoredRow]]],
    formats: Sequence[str],
    request: Mapping[str, Any],
    consent: Callable[[], Mapping[str, Any]],
) -> dict[str, Any]:
    described: list[dict[str, Any]] = []
    checked: list[dict[str, Any]] = []
    for table, rows in tables:
        cells = frame(table, rows)
        described.append(_described(cells))
        checked += _written(folder, cells, formats, identity.as_of)
    page = codebook.page(identity.to_json(), [table for table, _ in tables])
    (folder / "codebook.html").write_text(page, encoding="utf-8")
    _save(folder / "verification.json", {"format": "trialdm-verification/1", "files": checked})
    files = [_file(folder, path) for path in _files(folder)]
    manifest = {"format": FORMAT, **identity.to_json(), "files": files, "tables": described, "consent": dict(consent())}
    _save(folder / _MANIFEST, manifest)
    _save(folder / _REQUEST, {**request, "manifest_sha256": _sha256(folder / _MANIFEST)})
    return manifest


def _written(folder: Path, cells: Frame, formats: Sequence[str], as_of: datetime) -> Iterator[dict[str, Any]]:
    """Write the table in every format, and read each file back. Yields what was verified."""
    for name in formats:
        path = folder / _data_path(name, cells.table.name)
        path.parent.mkdir(parents=True, exist_ok=True)
        _WRITERS[name](path, cells, as_of=as_of)
        yield {"path": _data_path(name, cells.table.name), "reader": verify.READERS[name], **verify.check(name, path, cells)}


def _described(cells: Frame) -> dict[str, Any]:
    columns = cells.table.columns
    return {
        "name": cells.table.name,
        "title": cells.table.title,
        "rows": len(cells),
        "columns": len(columns),
        "hash": delimited.table_hash(cells),
        "structure": delimited.structure(columns),
    }


def _data_path(format_name: str, table: str) -> str:
    return f"data/{format_name}/{table}.{format_name}"


def _file(folder: Path, path: Path) -> dict[str, Any]:
    return {"path": path.relative_to(folder).as_posix(), "sha256": _sha256(path), "bytes": path.stat().st_size}


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir())


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _save(path: Path, document: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(document, indent=1, ensure_ascii=False, default=str) + "\n", encoding="utf-8")


# --- verifying -------------------------------------------------------------------------------------------------------


def _manifest(directory: Path) -> dict[str, Any]:
    path = directory / _MANIFEST
    if not path.is_file():
        raise Missing(f"{directory} is not an export package: it has no {_MANIFEST}.", code="EXPORT.NO_PACKAGE")
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        raise Broken(f"{_MANIFEST} is damaged.", code="EXPORT.MANIFEST") from None
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise Broken(f"{_MANIFEST} is not of the format {FORMAT}.", code="EXPORT.MANIFEST")
    return manifest


def _file_differences(directory: Path, manifest: Mapping[str, Any]) -> Iterator[Detail]:
    """Files that are missing, extra, or of other contents than listed; and a manifest other than the one released."""
    listed = {entry["path"]: entry for entry in manifest["files"]}
    there = {path.relative_to(directory).as_posix(): path for path in _files(directory)}
    for name in sorted({*listed, _REQUEST} - there.keys()):
        yield _detail("EXPORT.FILE_MISSING", name, "is missing")
    for name in sorted(there.keys() - listed.keys() - {_MANIFEST, _REQUEST}):
        yield _detail("EXPORT.FILE_EXTRA", name, "is not part of the package")
    for name in sorted(listed.keys() & there.keys()):
        if there[name].is_symlink() or _file(directory, there[name]) != listed[name]:
            yield _detail("EXPORT.FILE_CHANGED", name, "was changed")
    if _REQUEST in there and json.loads(there[_REQUEST].read_bytes()).get("manifest_sha256") != _sha256(directory / _MANIFEST):
        yield _detail("EXPORT.FILE_CHANGED", _MANIFEST, "was changed after the package was released")


def _table_differences(directory: Path, manifest: Mapping[str, Any]) -> Iterator[Detail]:
    """Data files of which the cells are not those that the manifest's table hash was computed over."""
    tables = {entry["name"]: entry for entry in manifest["tables"]}
    for path in sorted((directory / "data").glob("*/*")):
        name, entry = path.relative_to(directory).as_posix(), tables.get(path.stem)
        if entry is None or path.parent.name not in _WRITERS:
            yield _detail("EXPORT.TABLE", name, "holds no table of the manifest")
            continue
        table = Table(path.stem, "", tuple(Column(label="", **column) for column in entry["structure"]))
        try:
            cells = verify.read(path.parent.name, path, table)
        except Broken as problem:
            yield _detail("EXPORT.TABLE", name, f"cannot be read as its table: {problem.message}")
            continue
        if (len(cells), delimited.table_hash(cells)) != (entry["rows"], entry["hash"]):
            yield _detail("EXPORT.TABLE", name, "does not hold the cells of its table")


def _detail(code: str, place: str, message: str) -> Detail:
    return Detail(code, f"{place} {message}.", place=place)

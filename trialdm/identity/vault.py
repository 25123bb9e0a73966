"""The vault itself: what it answers, and how identities are kept, sealed field by field under a key of each person.

Associated data bind a value to its trial, person and field (`v1|trial|person|field|1`), so that what is moved cannot be read.
"""

import fcntl
import secrets
import threading
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, delete, func, insert, inspect, select, update
from sqlalchemy.exc import IntegrityError, OperationalError

from trialdm.domain import identity, pseudonym
from trialdm.domain.errors import Broken, Conflict, Missing, Refused, VaultAway
from trialdm.domain.identity import FIELDS, Identity, Likeness, Waiting
from trialdm.identity import keys, tables
from trialdm.identity.tables import looked, person, sealed, versions

Found = TypeVar("Found")

_TRIES = 20

#: The version of a person's own key: it is made once and never changed.
_OWN = 1

_HOUR = 3600.0


@dataclass(frozen=True)
class Place:
    """Where a vault lies: `folder` holds its keys, and its database unless `url` names another one."""

    folder: Path
    url: str
    world: str
    views_per_hour: int = 5

    @property
    def keys(self) -> Path:
        return self.folder / "keys"


class Kept:
    """A vault in this very process. `pseudonyms` is where the random bytes of pseudonyms come from."""

    def __init__(
        self, place: Place, clock: Callable[[], datetime], pseudonyms: Callable[[int], bytes] = secrets.token_bytes, *, inside: bool = True
    ) -> None:
        self.place, self.clock, self.pseudonyms, self.inside = place, clock, pseudonyms, inside
        self.views_per_hour = place.views_per_hour
        self._engine: Engine | None = None
        self._opening = threading.Lock()

    # --- the four questions ------------------------------------------------------------------------------------------

    def enter(self, trial: str, who: Identity, *, by: str, participant: str = "", different: bool = False) -> Likeness:
        who = self._checked(who)
        for _ in range(_TRIES):
            try:
                return self._enter(trial, who, by, participant, different)
            except IntegrityError:  # somebody else was faster: the likeness is found in the next round
                continue
        raise Conflict("The identity could not be kept: others are being entered at this moment.", code="VAULT.BUSY", needs="Try again.")

    def likeness(self, trial: str, who: Identity) -> Likeness:
        who = self._checked(who)

        def look(connection: Connection) -> Likeness:
            return self._like(connection, _in_force(connection), trial, who)

        return self._reading_twice(look)

    def contains(self, trial: str, participant: str, text: str) -> tuple[str, ...]:
        found = self._open(trial, participant, ("pending", "active"))
        return identity.found_in(found, text) if found else ()

    def show(self, trial: str, participant: str, *, by: str) -> Identity:
        at = self._now()
        with self._writing() as connection:
            seen = select(func.count()).where(looked.c.by == by, looked.c.act == "show", looked.c.at > at - _HOUR)
            if (connection.scalar(seen) or 0) >= self.views_per_hour:
                raise too_often(self.views_per_hour)
            _note(connection, at, by, "show", trial, participant)
        found = self._open(trial, participant, ("active",))
        if found is None:
            raise Missing(
                "The vault holds no identity of this participant.", code="IDENTITY.NONE", needs="Enter it, where it is to follow."
            )
        return found

    # --- upkeep ------------------------------------------------------------------------------------------------------

    def settle(self, trial: str, participant: str) -> None:
        with self._writing() as connection:
            connection.execute(
                update(person).where(*_is(trial, participant), person.c.state == "pending").values(state="active", changed_at=self._now())
            )

    def withdraw(self, trial: str, participant: str) -> None:
        with self._writing() as connection:
            pending = [
                row.id for row in connection.execute(select(person.c.id).where(*_is(trial, participant), person.c.state == "pending"))
            ]
            connection.execute(delete(sealed).where(sealed.c.person.in_(pending)))
            connection.execute(delete(person).where(person.c.id.in_(pending)))

    def doubt(self, known: Collection[tuple[str, str]]) -> int:
        """After a restore: whoever is not among those that the research database knows (trial, participant) is pending again."""
        with self._writing() as connection:
            active = connection.execute(select(person.c.id, person.c.trial, person.c.participant).where(person.c.state == "active"))
            unknown = [row.id for row in active if (row.trial, row.participant) not in known]
            connection.execute(update(person).where(person.c.id.in_(unknown)).values(state="pending", changed_at=0.0))
        return len(unknown)

    def waiting(self) -> list[Waiting]:
        with self._reading() as connection:
            rows = connection.execute(select(person.c.trial, person.c.participant, person.c.changed_at).where(person.c.state == "pending"))
            return [Waiting(row.trial, row.participant, (self._now() - row.changed_at) / 60) for row in rows]

    def shred(self, trial: str, participant: str, *, by: str) -> str:
        at = self._now()
        with self._writing() as connection:
            row = connection.execute(select(person).where(*_is(trial, participant))).first()
            if row is None:
                raise Missing("The vault holds no identity of this participant.", code="IDENTITY.NONE", needs="Nothing.")
            if row.state == "shredded":
                return _moment(row.changed_at)
            nothing = dict.fromkeys(("wrapped", "number", "name", "next_number", "next_name"))
            connection.execute(delete(sealed).where(sealed.c.person == row.id))
            connection.execute(update(person).where(person.c.id == row.id).values(**nothing, state="shredded", changed_at=at))
            _note(connection, at, by, "shred", trial, participant)
        return _moment(at)

    # --- entering ----------------------------------------------------------------------------------------------------

    def _checked(self, who: Identity) -> Identity:
        """The same identity, once it is one that this world takes."""
        return identity.read(who.to_json(), world=self.place.world, today=self.clock().date())

    def _enter(self, trial: str, who: Identity, by: str, participant: str, different: bool) -> Likeness:
        with self._writing() as connection:
            using = _in_force(connection)
            like = self._like(connection, using, trial, who)
            if like.kind != "new" and not (like.kind == "possible" and different):
                _note(connection, self._now(), by, f"enter: {like.kind}", trial, like.participant)
                return like
            if participant and connection.execute(select(person.c.id).where(*_is(trial, participant))).first():
                raise Conflict(
                    f"The identity of participant {participant} was entered already.",
                    code="IDENTITY.ENTERED",
                    needs="Nothing, or look at it.",
                )
            ident, own = uuid.uuid4().hex, keys.fresh_key()
            named = participant or self._unused(connection, trial)
            row = {"id": ident, "trial": trial, "participant": named, "state": "pending", "changed_at": self._now(), "kek": using["kek"]}
            row["wrapped"] = self._wrap(own, using["kek"], trial, ident)
            row |= self._indexes(trial, who, using["index"])
            if using["next_index"]:
                row |= {f"next_{name}": value for name, value in self._indexes(trial, who, using["next_index"]).items()}
            connection.execute(insert(person).values(row))
            values = [
                {"person": ident, "field": name, "value": keys.seal(own, text.encode(), _bound(trial, ident, name))}
                for name, text in who.to_json().items()
            ]
            connection.execute(insert(sealed), values)
        return Likeness("new", named)

    def _unused(self, connection: Connection, trial: str) -> str:
        for _ in range(_TRIES):
            fresh = pseudonym.issue(self.pseudonyms(5))
            if connection.execute(select(person.c.id).where(*_is(trial, fresh))).first() is None:
                return fresh
        raise RuntimeError("no unused pseudonym was found")

    def _like(self, connection: Connection, using: Mapping[str, int], trial: str, who: Identity) -> Likeness:
        blind = self._indexes(trial, who, using["index"])
        if blind["number"] is not None:
            row = connection.execute(select(person).where(person.c.trial == trial, person.c.number == blind["number"])).first()
            if row is not None:
                other = self._unseal(connection, row)
                if row.state == "pending":
                    return Likeness("waiting", row.participant)
                return Likeness("same" if identity.agree(who, other) else "number", row.participant)
        for row in connection.execute(select(person).where(person.c.trial == trial, person.c.name == blind["name"])).all():
            if row.number is None or blind["number"] is None:
                return Likeness("waiting" if row.state == "pending" else "possible", row.participant)
        return Likeness("new")

    def _indexes(self, trial: str, who: Identity, version: int) -> dict[str, bytes | None]:
        key = keys.load(self.place.keys, "index", version)
        number = keys.blind(key, trial, identity.by_number(who.nhs_number)) if who.nhs_number else None
        return {"number": number, "name": keys.blind(key, trial, identity.by_name(who))}

    # --- sealing -----------------------------------------------------------------------------------------------------

    def _wrap(self, own: bytes, version: int, trial: str, ident: str) -> bytes:
        return keys.seal(keys.load(self.place.keys, "kek", version), own, _bound(trial, ident, f"key-{version}"))

    def _own(self, row: Any) -> bytes:
        return keys.unseal(keys.load(self.place.keys, "kek", row.kek), row.wrapped, _bound(row.trial, row.id, f"key-{row.kek}"))

    def _unseal(self, connection: Connection, row: Any) -> Identity:
        own = self._own(row)
        values = {one.field: one.value for one in connection.execute(select(sealed).where(sealed.c.person == row.id))}
        if set(values) != set(FIELDS):
            raise Broken("A sealed identity is not whole.", code="VAULT.SEAL")
        return identity.from_json({name: keys.unseal(own, values[name], _bound(row.trial, row.id, name)).decode() for name in FIELDS})

    def _open(self, trial: str, participant: str, states: tuple[str, ...]) -> Identity | None:
        """One identity; None where there is none in these states."""

        def look(connection: Connection) -> Identity | None:
            row = connection.execute(select(person).where(*_is(trial, participant), person.c.state.in_(states))).first()
            return self._unseal(connection, row) if row else None

        return self._reading_twice(look)

    def _reading_twice(self, look: Callable[[Connection], Found]) -> Found:
        """What is found; a key that was retired while something was read is looked for again."""
        try:
            with self._reading() as connection:
                return look(connection)
        except Broken as problem:
            if problem.code != "VAULT.KEY":
                raise
        with self._reading() as connection:
            return look(connection)

    # --- rotation: for whoever keeps the vault -----------------------------------------------------------------------

    def rotate_wrapping(self, batch: int = 100) -> tuple[int, int]:
        """Bring in a new key-encryption key and wrap every person's key anew, some at a time; gives its version, and how many."""
        with self._writing() as connection:
            known = _in_force(connection)["kek"]
            behind = connection.scalar(select(func.count()).where(person.c.kek < known, person.c.wrapped.is_not(None)))
            if not behind:  # else an earlier rotation was cut off, and is finished now
                known = max(keys.versions(self.place.keys, "kek")) + 1
                keys.make(self.place.keys, "kek", known)
                connection.execute(update(versions).where(versions.c.name == "kek").values(number=known))
        done = 0
        while True:
            with self._writing() as connection:
                rows = connection.execute(
                    select(person).where(person.c.kek < known, person.c.wrapped.is_not(None)).limit(batch).with_for_update()
                ).all()
                for row in rows:
                    wrapped = self._wrap(self._own(row), known, row.trial, row.id)
                    connection.execute(update(person).where(person.c.id == row.id).values(kek=known, wrapped=wrapped))
            if not rows:
                return known, done
            done += len(rows)

    def retire_wrapping(self) -> list[int]:
        """Destroy every key-encryption key but the one in force; gives their versions. Raises Conflict while one is in use."""
        with self._writing() as connection:
            known = _in_force(connection)["kek"]
            if connection.scalar(select(func.count()).where(person.c.kek < known, person.c.wrapped.is_not(None))):
                raise Conflict("An older key still wraps some identities.", code="VAULT.IN_USE", needs="Rotate first.")
            old = [version for version in keys.versions(self.place.keys, "kek") if version != known]
            for version in old:
                keys.destroy(self.place.keys, "kek", version)
        return old

    def rotate_index(self, batch: int = 100) -> tuple[int, int]:
        """Bring in a new index key: fill the second columns some at a time, then put them in the place of the first."""
        with self._writing() as connection:
            using = _in_force(connection)
            old, new = using["index"], using["next_index"]
            if not new:
                new = max(keys.versions(self.place.keys, "index")) + 1
                keys.make(self.place.keys, "index", new)
                connection.execute(update(versions).where(versions.c.name == "next_index").values(number=new))
        done = 0
        lacking = (person.c.next_name.is_(None), person.c.wrapped.is_not(None))
        while True:
            with self._writing() as connection:
                rows = connection.execute(select(person).where(*lacking).limit(batch).with_for_update()).all()
                for row in rows:
                    blind = self._indexes(row.trial, self._unseal(connection, row), new)
                    connection.execute(
                        update(person).where(person.c.id == row.id).values(next_number=blind["number"], next_name=blind["name"])
                    )
                if not rows:
                    swapped = {"number": person.c.next_number, "name": person.c.next_name, "next_number": None, "next_name": None}
                    connection.execute(update(person).values(swapped))
                    connection.execute(update(versions).where(versions.c.name == "index").values(number=new))
                    connection.execute(update(versions).where(versions.c.name == "next_index").values(number=0))
            if not rows:
                keys.destroy(self.place.keys, "index", old)
                return new, done
            done += len(rows)

    # --- the database ------------------------------------------------------------------------------------------------

    def create(self) -> None:
        """Make keys and tables where there are none yet. Raises Broken where there are identities without a key."""
        self.place.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with (self.place.folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            engine = tables.connect(self.place.url)
            known = inspect(engine).has_table("vault_person")
            if known and not keys.versions(self.place.keys, "kek"):
                raise Broken("The vault's keys are absent.", code="VAULT.KEY", needs="Restore the vault's keys.")
            if not known:
                for name in ("kek", "index"):
                    if not keys.versions(self.place.keys, name):
                        keys.make(self.place.keys, name, 1)
                with engine.begin() as connection:
                    tables.metadata.create_all(connection)
                    first = {"kek": 1, "index": 1, "next_index": 0}
                    connection.execute(insert(versions), [{"name": name, "number": number} for name, number in first.items()])
            self._engine = engine

    def _connected(self) -> Engine:
        with self._opening:
            if self._engine is None:
                try:
                    self.create()
                except (OperationalError, OSError):
                    raise VaultAway("The vault's database cannot be reached.", needs=_LATER) from None
        assert self._engine is not None
        return self._engine

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        try:
            with self._connected().begin() as connection:
                yield connection
        except OperationalError:
            raise VaultAway("The vault's database cannot be reached.", needs=_LATER) from None

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        try:
            with self._connected().execution_options(**{tables.READING: True}).connect() as connection, connection.begin():
                yield connection
        except OperationalError:
            raise VaultAway("The vault's database cannot be reached.", needs=_LATER) from None

    def _now(self) -> float:
        return self.clock().astimezone(UTC).timestamp()


_LATER = "Try again in a while; tell the administrator if it lasts."


def too_often(views: int) -> Refused:
    """The refusal of one more look within the hour."""
    return Refused(
        f"You have looked at {views} identities within an hour, which is the most.",
        code="IDENTITY.OFTEN",
        needs="Look again later; a list of names is kept at the site.",
    )


def _is(trial: str, participant: str) -> tuple[Any, Any]:
    return person.c.trial == trial, person.c.participant == participant


def _bound(trial: str, ident: str, name: str) -> str:
    return f"v1|{trial}|{ident}|{name}|{_OWN}"


def _moment(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")


def _note(connection: Connection, at: float, by: str, act: str, trial: str, participant: str) -> None:
    connection.execute(insert(looked).values(id=uuid.uuid4().hex, at=at, by=by, act=act, trial=trial, participant=participant))


def _in_force(connection: Connection) -> dict[str, int]:
    """The versions of the keys; whoever writes holds them, so that none is changed meanwhile."""
    wanted = select(versions.c.name, versions.c.number)
    if not connection.get_execution_options().get(tables.READING):
        wanted = wanted.with_for_update()
    return {row.name: row.number for row in connection.execute(wanted)}

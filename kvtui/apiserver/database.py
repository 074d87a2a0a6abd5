"""The SQLite file: one table of versions, appended to by one thread with group commit.

Every write is one row, keyed by its revision; the newest row of a name is its current state, older rows are history
for watches. One batch is one INSERT statement and thus one transaction and one fsync, however many writes it holds.

Source: https://sqlite.org/wal.html, https://sqlite.org/c3ref/backup_finish.html.
"""

from __future__ import annotations

import contextlib
import os
import queue
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path

from kvtui.errors import KvtuiError

SCHEMA_VERSION = 1
_MAX_BATCH = 500
_CHECKPOINT = 2000
"""Pages in the write-ahead log after which it is worked into the file and begun anew."""
_LOCKED = 1.0
"""Seconds to wait for a server that is just ending."""
_BACKUP_PAGES = 256
_BACKUP_PAUSE = 0.002


class Change(IntEnum):
    """What a row did to its name."""

    CREATED = 0
    UPDATED = 1
    DELETED = 2


@dataclass(frozen=True, slots=True)
class Row:
    """One version of one object."""

    rv: int
    resource: str
    namespace: str
    name: str
    change: Change
    at: int
    """Unix seconds."""
    value: bytes


@dataclass(slots=True)
class Compaction:
    """History that no watch needs any more."""

    revisions: list[int]
    floors: dict[str, int]
    """Per resource: changes up to this revision cannot be replayed any more."""


class DatabaseFull(KvtuiError):
    """The disk or the size limit is reached; nothing of the batch was written."""

    hint = "free some space, or delete objects that are not needed"


class DatabaseBroken(KvtuiError):
    """The outcome of a commit is unknown: only reading the file again tells."""


@dataclass(slots=True)
class _Write:
    epoch: int
    row: Row


@dataclass(slots=True)
class _Backup:
    target: Path
    done: Callable[[BaseException | None], None]


@dataclass(slots=True)
class _Stop:
    pass


_Item = _Write | Compaction | _Backup | _Stop


@dataclass(slots=True)
class Contents:
    """What a file held when it was opened."""

    revision: int
    floors: dict[str, int]
    rows: Iterator[Row] = field(default_factory=lambda: iter(()))


class Database:
    """Owns the file and its writer thread; callbacks run in that thread."""

    def __init__(
        self,
        path: Path,
        *,
        committed: Callable[[list[Row]], None],
        failed: Callable[[int, KvtuiError], None],
        max_bytes: int,
    ) -> None:
        self._path = path
        self._committed = committed
        self._failed = failed
        self._queue: queue.SimpleQueue[_Item] = queue.SimpleQueue()
        self._bad_epoch = -1
        self._thread: threading.Thread | None = None
        fresh = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        os.close(fresh)
        self._connection = _connect(path)
        self._page = int(self._connection.execute("PRAGMA page_size").fetchone()[0])
        self._connection.execute(f"PRAGMA max_page_count={max(max_bytes // self._page, 64)}")

    def load(self) -> Contents:
        """Everything in the file, rows in order of revision; must be consumed before start()."""
        db = self._connection
        floors = {str(r): int(v) for r, v in db.execute("SELECT resource, rv FROM floor")}
        stored = db.execute("SELECT value FROM meta WHERE key='revision'").fetchone()
        top = db.execute("SELECT max(rv) FROM record").fetchone()[0]
        revision = max(int(stored[0]) if stored else 0, int(top or 0), *floors.values(), 0)
        return Contents(revision, floors, self._rows())

    def _rows(self) -> Iterator[Row]:
        cursor = self._connection.execute(
            "SELECT rv, resource, namespace, name, change, at, value FROM record ORDER BY rv"
        )
        cursor.arraysize = 256
        while rows := cursor.fetchmany():
            for rv, resource, namespace, name, change, at, value in rows:
                yield Row(rv, resource, namespace, name, Change(change), at, value)

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="kvtui database", daemon=True)
        self._thread.start()

    def append(self, epoch: int, row: Row) -> None:
        """Queues a write; `committed` or `failed(epoch)` tells its fate. Any thread."""
        self._queue.put(_Write(epoch, row))

    def compact(self, compaction: Compaction) -> None:
        self._queue.put(compaction)

    def backup(self, target: Path, done: Callable[[BaseException | None], None]) -> None:
        """Copies the file while it is in use; `done` gets the error, if any."""
        self._queue.put(_Backup(target, done))

    def close(self) -> None:
        """Finishes what is queued, then closes the file."""
        if self._thread is not None:
            self._queue.put(_Stop())
            self._thread.join()
            self._thread = None
        with contextlib.suppress(sqlite3.Error):
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self._connection.close()

    def size(self) -> int:
        """Bytes on disk, the write-ahead log included."""
        total = 0
        for suffix in ("", "-wal"):
            with contextlib.suppress(OSError):
                total += Path(f"{self._path}{suffix}").stat().st_size
        return total

    def _run(self) -> None:
        _reserve_log(self._path, self._page * _CHECKPOINT * 11 // 10)
        while True:
            item = self._queue.get()
            writes: list[_Write] = []
            others: list[_Item] = []
            while True:
                if isinstance(item, _Write):
                    writes.append(item)
                else:
                    others.append(item)
                if others or len(writes) >= _MAX_BATCH:
                    break
                try:
                    item = self._queue.get_nowait()
                except queue.Empty:
                    break
            if writes and not self._commit(writes):
                return
            for other in others:
                if isinstance(other, _Stop):
                    return
                if isinstance(other, Compaction):
                    self._compact(other)
                elif isinstance(other, _Backup):
                    self._copy(other)

    def _commit(self, writes: list[_Write]) -> bool:
        good = [w for w in writes if w.epoch > self._bad_epoch]
        if not good:
            return True
        try:
            self._insert([w.row for w in good])
        except sqlite3.Error as error:
            epoch = max(w.epoch for w in good)
            self._bad_epoch = epoch
            if _is_full(error):
                self._failed(epoch, DatabaseFull(f"the database cannot grow: {error}"))
                return True
            self._failed(epoch, DatabaseBroken(f"the database failed: {error}"))
            return False
        self._committed([w.row for w in good])
        return True

    def _insert(self, rows: Sequence[Row]) -> None:
        # One statement is one implicit transaction, and one release of the interpreter lock.
        values = ",".join(["(?,?,?,?,?,?,?)"] * len(rows))
        parameters: list[object] = []
        for r in rows:
            parameters += (r.rv, r.resource, r.namespace, r.name, int(r.change), r.at, r.value)
        self._connection.execute(
            f"INSERT INTO record (rv,resource,namespace,name,change,at,value) VALUES {values}",  # noqa: S608
            parameters,
        )

    def _compact(self, compaction: Compaction) -> None:
        # A full disk must not stop deletion: SQLite needs some room for its log, so a failure is retried later.
        db = self._connection
        with contextlib.suppress(sqlite3.OperationalError):
            db.execute("BEGIN IMMEDIATE")
            try:
                if compaction.revisions:
                    marks = ",".join("?" * len(compaction.revisions))
                    db.execute(f"DELETE FROM record WHERE rv IN ({marks})", compaction.revisions)  # noqa: S608
                for resource, floor in compaction.floors.items():
                    db.execute("INSERT OR REPLACE INTO floor (resource, rv) VALUES (?,?)", (resource, floor))
                db.execute("COMMIT")
            except sqlite3.Error:
                if db.in_transaction:
                    db.execute("ROLLBACK")
                raise
            db.execute("PRAGMA incremental_vacuum(64)")

    def _copy(self, job: _Backup) -> None:
        try:
            flags = os.O_RDWR | os.O_CREAT | os.O_EXCL
            partial = job.target.with_name(job.target.name + ".partial")
            partial.unlink(missing_ok=True)
            os.close(os.open(partial, flags, 0o600))
            copy = sqlite3.connect(partial, isolation_level=None)
            try:
                self._connection.backup(copy, pages=_BACKUP_PAGES, sleep=_BACKUP_PAUSE)
                copy.execute("PRAGMA journal_mode=DELETE")
            finally:
                copy.close()
            descriptor = os.open(partial, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            partial.replace(job.target)
        except (OSError, sqlite3.Error) as error:
            job.done(error)
        else:
            job.done(None)


def _connect(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(path, timeout=_LOCKED, isolation_level=None, check_same_thread=False, cached_statements=600)
    try:
        # First of all: then the index of the log is in memory, and a full disk does not keep the file from opening.
        db.execute("PRAGMA locking_mode=EXCLUSIVE")
        db.execute("PRAGMA auto_vacuum=INCREMENTAL")
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("PRAGMA synchronous=FULL")
        db.execute(f"PRAGMA wal_autocheckpoint={_CHECKPOINT}")
        db.execute("PRAGMA journal_size_limit=33554432")
        version = int(db.execute("PRAGMA user_version").fetchone()[0])
        if version > SCHEMA_VERSION:
            raise DatabaseBroken(f"{path} was written by a newer kvtui (schema {version})")
        if version < SCHEMA_VERSION:
            _create(db)
    except sqlite3.OperationalError as error:
        db.close()
        if "locked" in str(error):
            raise DatabaseBroken(f"{path} is in use by another server") from error
        raise DatabaseBroken(f"{path}: {error}") from error
    except sqlite3.DatabaseError as error:
        db.close()
        raise DatabaseBroken(f"{path} is not a kvtui database: {error}") from error
    return db


def _reserve_log(path: Path, size: int) -> None:
    """Gives the write-ahead log its usual size at once, so that a commit need not wait for the file to grow.

    What follows the last frame of a log is not read: it has no valid checksum. Only while nobody writes to it.
    """
    try:
        room = os.statvfs(path)
        log = os.open(f"{path}-wal", os.O_WRONLY | os.O_CLOEXEC)
    except OSError:
        return
    try:
        present = os.fstat(log).st_size
        if present < size and size * 8 < room.f_bavail * room.f_frsize:
            try:
                os.pwrite(log, bytes(size - present), present)
                os.fsync(log)
            except OSError:
                os.ftruncate(log, present)
    finally:
        os.close(log)


def _create(db: sqlite3.Connection) -> None:
    db.execute("BEGIN IMMEDIATE")
    db.execute(
        "CREATE TABLE IF NOT EXISTS record (rv INTEGER PRIMARY KEY, resource TEXT NOT NULL, namespace TEXT NOT NULL, "
        "name TEXT NOT NULL, change INTEGER NOT NULL, at INTEGER NOT NULL, value BLOB NOT NULL) STRICT"
    )
    db.execute("CREATE TABLE IF NOT EXISTS floor (resource TEXT PRIMARY KEY, rv INTEGER NOT NULL) STRICT")
    db.execute("CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT")
    db.execute(f"PRAGMA user_version={SCHEMA_VERSION}")
    db.execute("COMMIT")


def _is_full(error: sqlite3.Error) -> bool:
    return getattr(error, "sqlite_errorname", "") == "SQLITE_FULL" or "full" in str(error)


def restore(backup: Path, path: Path) -> None:
    """Puts a backup in place of a database that no server has open. Clients relist: revisions jump far ahead.

    Raises DatabaseBroken when the backup is not one.
    """
    source = sqlite3.connect(f"file:{backup}?mode=ro", uri=True)
    partial = path.with_name(path.name + ".restore")
    partial.unlink(missing_ok=True)
    os.close(os.open(partial, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    copy = sqlite3.connect(partial, isolation_level=None)
    try:
        check = source.execute("PRAGMA quick_check").fetchone()[0]
        if check != "ok":
            raise DatabaseBroken(f"{backup} is damaged: {check}")
        source.backup(copy)
        top = copy.execute("SELECT max(rv) FROM record").fetchone()[0] or 0
        ahead = _newest_revision(path, int(top)) + REVISION_GAP
        copy.execute("BEGIN IMMEDIATE")
        copy.execute("INSERT OR REPLACE INTO meta (key, value) VALUES ('revision', ?)", (str(ahead),))
        copy.execute("INSERT OR REPLACE INTO floor SELECT DISTINCT resource, ? FROM record", (ahead,))
        copy.execute("COMMIT")
    except sqlite3.DatabaseError as error:
        raise DatabaseBroken(f"{backup} is not a kvtui database: {error}") from error
    finally:
        source.close()
        copy.close()
    for suffix in ("-wal", "-shm"):
        Path(f"{path}{suffix}").unlink(missing_ok=True)
    partial.replace(path)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


REVISION_GAP = 1_000_000
"""How far revisions jump when history may have been lost: no revision is ever issued twice."""


def _newest_revision(path: Path, at_least: int) -> int:
    if not path.exists():
        return at_least
    try:
        db = sqlite3.connect(path)
        try:
            top = db.execute("SELECT max(rv) FROM record").fetchone()[0] or 0
            stored = db.execute("SELECT value FROM meta WHERE key='revision'").fetchone()
        finally:
            db.close()
    except sqlite3.Error:
        return at_least
    return max(at_least, int(top), int(stored[0]) if stored else 0)

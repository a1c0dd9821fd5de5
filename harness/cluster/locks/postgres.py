"""Advisory locks of PostgreSQL, for workers on several machines: they are released with the connection."""

import hashlib
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from harness.cluster.database import CONNECTION, KEEPALIVES, unreachable
from harness.cluster.locks.base import LOCKS, STOP_PATIENCE_S, LockLost, Locks, lock_wait_callback
from harness.system.signals import raise_if_stop_requested

log = logging.getLogger(__name__)

# How long one query waits for the study's lock. Between two queries a stop request is checked, and the place is lost.
_QUEUE_MS = 8000
# A worker that was suspended while it waited is granted the lock all the same: it must answer, or its session ends.
_ACQUIRE = "SELECT pg_advisory_lock(%s), set_config('idle_session_timeout', '60s', false)"
_CONFIRM = "SELECT set_config('idle_session_timeout', '0', false), %s::bigint"
_RECONNECT_S = 600  # for a database that restarts


class PostgresLocks(Locks):
    """Advisory locks of one session.

    A dropped connection loses its locks; they are acquired again by the next one. A free lock therefore does not prove
    that its holder is gone (`free_proves_exit`): its heartbeat decides.
    """

    free_proves_exit = False

    def __init__(self, address: str, folder: Path, scope: str) -> None:
        self._scope = scope
        self._held: set[str] = set()
        self._holds_study_lock = False
        try:
            url = make_url(address).set(drivername="postgresql")
            self._address = url.render_as_string(hide_password=False)
            self._connection = self._connect()
        except (psycopg.Error, ArgumentError, ValueError) as error:
            raise unreachable(error) from None
        (folder / LOCKS).mkdir(parents=True, exist_ok=True)

    @contextmanager
    def study_lock(self) -> Iterator[None]:
        on_wait = lock_wait_callback()
        while not self._acquired_study_lock():
            on_wait()
        self._holds_study_lock = True
        try:
            yield
        finally:
            self._holds_study_lock = False
            self._unlock("study")

    def _acquired_study_lock(self) -> bool:
        """Return whether the server's queue (first come, first served) granted this session the study's lock."""
        if not self._query(_ACQUIRE, "study"):
            return False
        connection = self._connection
        self._query(_CONFIRM, "study")
        return self._connection is connection

    def try_acquire(self, name: str) -> bool:
        acquired = self._query("SELECT pg_try_advisory_lock(%s)", name)
        if acquired:
            self._held.add(name)
        return acquired

    def release(self, name: str) -> None:
        if name in self._held:
            self._held.discard(name)
            self._unlock(name)

    def is_free(self, name: str) -> bool:
        if name in self._held:
            return False
        free = self._query("SELECT pg_try_advisory_lock(%s)", name)
        if free:
            self._query("SELECT pg_advisory_unlock(%s)", name)
        return free

    def close(self) -> None:
        self._held.clear()
        self._connection.close()

    def _unlock(self, name: str) -> None:
        try:
            self._connection.execute("SELECT pg_advisory_unlock(%s)", (self._key(name),))
        except psycopg.OperationalError:
            self._connection.close()  # which releases the lock

    def _connect(self) -> psycopg.Connection[tuple[bool]]:
        settings = CONNECTION | {"options": f"{KEEPALIVES} -c lock_timeout={_QUEUE_MS}"}
        return psycopg.connect(self._address, autocommit=True, **settings)

    def _query(self, query: str, name: str) -> bool:
        """The first column of a query about one lock, across reconnects. Raises LockLost under the study's lock."""
        since = time.monotonic()
        while True:
            try:
                if self._connection.closed:
                    if self._holds_study_lock:
                        raise LockLost
                    self._reconnect()
                row = self._connection.execute(query.encode(), (self._key(name),)).fetchone()
                return row is not None and row[0] is not False
            except psycopg.errors.LockNotAvailable:
                return False
            except psycopg.OperationalError as error:
                self._connection.close()
                if self._holds_study_lock:
                    raise LockLost from None
                waited = time.monotonic() - since
                if waited > STOP_PATIENCE_S:
                    raise_if_stop_requested()
                if waited > _RECONNECT_S:
                    raise unreachable(error) from None
                time.sleep(1)

    def _reconnect(self) -> None:
        log.warning("the database's connection dropped; connecting again")
        self._connection = self._connect()
        for name in self._held:
            self._connection.execute("SELECT pg_try_advisory_lock(%s)", (self._key(name),))

    def _key(self, name: str) -> int:
        digest = hashlib.sha256(f"{self._scope}/{name}".encode()).digest()
        return int.from_bytes(digest[:8], "big", signed=True)

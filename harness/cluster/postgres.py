"""Locks in PostgreSQL, for workers on several machines: they go with the connection that took them."""

import hashlib
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from harness.cluster.locks import LOCKS, PATIENCE_S, LockLost, Locks, lock_wait_callback
from harness.cluster.storage import CONNECTION, KEEPALIVES, unreachable
from harness.system.signals import raise_if_stop_requested

log = logging.getLogger(__name__)

_QUEUE_MS = 8000  # for the study's lock; then it is seen whether a stop was asked for, and the place is lost
# A worker that was stopped while it waited is given the lock all the same: it must answer, or its session ends.
_TAKE = "SELECT pg_advisory_lock(%s), set_config('idle_session_timeout', '60s', false)"
_CONFIRM = "SELECT set_config('idle_session_timeout', '0', false), %s::bigint"
_AWAY_S = 600  # a database that is started anew is waited for


class PostgresLocks(Locks):
    """Advisory locks of one session.

    A connection that drops loses its locks; they are taken again with the next one. So a lock that is free does not
    prove that its holder is gone (`certain`): its signs of life decide.
    """

    certain = False

    def __init__(self, address: str, folder: Path, scope: str) -> None:
        (folder / LOCKS).mkdir(parents=True, exist_ok=True)
        self._scope = scope
        self._held: set[str] = set()
        self._inside = False
        try:
            named = make_url(address).set(drivername="postgresql")
            self._address = named.render_as_string(hide_password=False)
            self._connection = self._connect()
        except (psycopg.Error, ArgumentError, ValueError) as error:
            raise unreachable(error) from None

    @contextmanager
    def mutex(self) -> Iterator[None]:
        """As Locks.mutex."""
        look = lock_wait_callback()
        while not self._taken():
            look()
        self._inside = True
        try:
            yield
        finally:
            self._inside = False
            self._let_go("study")

    def _taken(self) -> bool:
        """Whether the server's queue, in which nobody passes by, has given this session the study's lock."""
        if not self._ask(_TAKE, "study"):
            return False
        connection = self._connection
        self._ask(_CONFIRM, "study")
        return self._connection is connection

    def take(self, name: str) -> bool:
        """As Locks.take."""
        taken = self._ask("SELECT pg_try_advisory_lock(%s)", name)
        if taken:
            self._held.add(name)
        return taken

    def drop(self, name: str) -> None:
        """As Locks.drop."""
        if name in self._held:
            self._held.discard(name)
            self._let_go(name)

    def is_free(self, name: str) -> bool:
        """As Locks.is_free."""
        if name in self._held:
            return False
        free = self._ask("SELECT pg_try_advisory_lock(%s)", name)
        if free:
            self._ask("SELECT pg_advisory_unlock(%s)", name)
        return free

    def close(self) -> None:
        """As Locks.close."""
        self._held.clear()
        self._connection.close()

    def _let_go(self, name: str) -> None:
        try:
            self._connection.execute("SELECT pg_advisory_unlock(%s)", (self._key(name),))
        except psycopg.OperationalError:
            self._connection.close()  # and the lock with it

    def _connect(self) -> psycopg.Connection[tuple[bool]]:
        how = CONNECTION | {"options": f"{KEEPALIVES} -c lock_timeout={_QUEUE_MS}"}
        return psycopg.connect(self._address, autocommit=True, **how)

    def _ask(self, question: str, name: str) -> bool:
        since = time.monotonic()
        while True:
            try:
                if self._connection.closed:
                    if self._inside:
                        raise LockLost
                    self._reconnect()
                row = self._connection.execute(question.encode(), (self._key(name),)).fetchone()
                return row is not None and row[0] is not False
            except psycopg.errors.LockNotAvailable:
                return False
            except psycopg.OperationalError as error:
                self._connection.close()
                if self._inside:
                    raise LockLost from None
                waited = time.monotonic() - since
                if waited > PATIENCE_S:
                    raise_if_stop_requested()
                if waited > _AWAY_S:
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

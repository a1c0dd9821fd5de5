"""A connection to the database that a study is stored in, tried before anything is created."""

from pathlib import Path
from typing import Any

from sqlalchemy import create_engine
from sqlalchemy.exc import SQLAlchemyError

from harness.cluster.database import CONNECTION, storage_address, storage_kind, unreachable

# Of an address that is none, of a driver, of the network and of the server.
FAILURES = (SQLAlchemyError, OSError, ImportError, RuntimeError, TypeError, ValueError)
_ENGINE = {"pool_pre_ping": True, "pool_recycle": 1800, "connect_args": CONNECTION}


def engine_options(address: str) -> dict[str, Any]:
    """The arguments of SQLAlchemy's engine for an address."""
    return dict(_ENGINE) if storage_kind(address) == "postgresql" else {}


def check_connection() -> None:
    """Connect once to the database that is named, and create nothing. Raises ConfigError where that fails."""
    address = storage_address()
    try:
        engine = create_engine(address, **engine_options(address))
        file = Path(engine.url.database or "")
        fresh = storage_kind(address) == "sqlite" and not file.exists()
        try:
            engine.connect().close()
        finally:
            engine.dispose()
            if fresh:  # SQLite creates an empty file to connect to
                file.unlink(missing_ok=True)
    except FAILURES as error:
        raise unreachable(error) from None

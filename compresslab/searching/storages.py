"""Where a study is kept: in memory, in a journal file, or in a database; and who works at a trial."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from compresslab.errors import CompressionError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

WORKER = "worker"
UNSIGNED, FORGOTTEN = timedelta(seconds=10), timedelta(days=1)


def storage(optuna: Any, where: str | Path | None) -> Any:
    """Return what Optuna calls a storage."""
    if where is None or "://" in str(where):
        return where
    path, journal = Path(where), optuna.storages.journal
    lock = _Lock(path) if fcntl else journal.JournalFileOpenLock(str(path))
    backend = journal.JournalFileBackend(str(path), lock)
    lock.acquire()
    try:
        written = path.read_bytes()
        if not written.endswith(b"\n"):  # a line that a kill cut off would spoil the next
            os.truncate(path, written.rfind(b"\n") + 1)
    finally:
        lock.release()
    return optuna.storages.JournalStorage(backend)


class _Lock:
    """Lock a journal for the time of a write; the system opens it when its holder is killed."""

    def __init__(self, path: Path) -> None:
        self._path, self._held = path.with_name(path.name + ".lock"), -1

    def acquire(self) -> bool:
        self._held = os.open(self._path, os.O_CREAT | os.O_RDWR, 0o666)
        if fcntl is not None:
            fcntl.flock(self._held, fcntl.LOCK_EX)
        return True

    def release(self) -> None:
        os.close(self._held)


@contextmanager
def opening(where: str | Path | None) -> Iterator[None]:
    """Say in our words why a storage does not open."""
    try:
        yield
    except CompressionError:
        raise
    except Exception as error:
        reason = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
        raise CompressionError(
            f"The study at {shown(where)} could not be opened ({reason:.160}); give a path in a folder that "
            "is there, or the URL of a database whose driver is installed."
        ) from error


def shown(where: str | Path | None) -> str:
    """Name a storage without the password that its URL may hold."""
    text = str(where)
    scheme, _, rest = text.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}"[:120] if rest else text[-120:]


@contextmanager
def quiet(optuna: Any) -> Iterator[None]:
    """Let Optuna say nothing of single trials, and leave its words as they were."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)


def me() -> list[Any]:
    """Name this process, for the trials that it makes."""
    return [socket.gethostname(), os.getpid()]


def gone(trial: Any) -> bool:
    """Say whether nobody works at a trial any more."""
    age = datetime.now() - (trial.datetime_start or datetime.now())
    worker = trial.user_attrs.get(WORKER)
    if worker is None:
        return age > UNSIGNED
    host, process = worker
    if host != socket.gethostname():
        return age > FORGOTTEN
    if process == os.getpid():
        return False
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return True
    except OSError:  # it is there, and another user's
        return False
    return False

"""Put a file in its place whole or not at all, with the rights of the one that stood there.

The bytes go to a temporary file beside the target, which takes its place in one step. While it is written it
is locked, so that a later save can tell what a killed one left behind, and sweeps it.
"""

import os
import secrets
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from compresslab.errors import CompressionError

try:
    import fcntl
except ImportError:  # Windows removes no file that is open: there the lock is not needed
    fcntl = None

_TEMPORARY = ".{}.clab.tmp"


def target_of(path: str | Path) -> Path:
    """Return the file that a path leads to, through links, after seeing that it may be written.

    Raises:
        CompressionError: it is a folder, a device, read-only, one of several names of a file, or a circle.
        FileNotFoundError: its folder is missing.
    """
    if os.fspath(path).endswith((os.sep, os.altsep or os.sep)):
        raise CompressionError(f"{path} names a folder; add the name of a file, for example model.clab.")
    target = Path(os.path.realpath(path))
    if target.is_symlink():
        raise CompressionError(f"{path} is a link that leads in a circle; give a path that is free.")
    if not target.parent.is_dir():
        raise FileNotFoundError(f"The folder {target.parent} does not exist; make it first.")
    if not target.exists():
        return target
    if not target.is_file():
        raise CompressionError(f"{path} is not a file; give a path that is free or a file to replace.")
    found = target.stat()
    if not found.st_mode & 0o222 or not os.access(target, os.W_OK):
        raise CompressionError(f"{path} is read-only; make it writable, or give another path.")
    if found.st_nlink > 1:  # one step replaces one name, and writing in place could be cut short
        raise CompressionError(
            f"{path} is one of {found.st_nlink} names of a file (hard links), and only one could be "
            "replaced whole; remove it first, or give another path."
        )
    return target


def write_whole(target: Path, pieces: Iterable[bytes]) -> None:
    """Write a file that ``target_of`` returned; if that fails, the old one stays as it was."""
    _sweep(target.parent)
    temporary = target.with_name(_TEMPORARY.format(secrets.token_hex(8)))
    try:
        with open(temporary, "xb", opener=_private if target.exists() else None) as file:
            if not _locked(file.fileno()) or not temporary.exists():  # swept before it was locked
                raise OSError(f"{temporary} was taken away while it was made; save again.")
            _take_rights(file.fileno(), target)
            for piece in pieces:
                file.write(piece)
            file.flush()
            os.fsync(file.fileno())  # the bytes first, then the name that points to them
            os.replace(temporary, target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync_folder(target.parent)


def _private(path: str, flags: int) -> int:
    """Open for the owner alone: what stood there may have been no one else's to read."""
    return os.open(path, flags, 0o600)


def _take_rights(descriptor: int, target: Path) -> None:
    """Give a new file the mode of the old one, and its owner where this process may."""
    if not hasattr(os, "fchown") or not target.exists():
        return
    found = target.stat()
    for owner in (found.st_uid, -1):
        with suppress(PermissionError):
            os.fchown(descriptor, owner, found.st_gid)
            break
    os.fchmod(descriptor, found.st_mode & 0o777)


def _locked(descriptor: int) -> bool:
    """Lock an open file until it is closed or its process ends; say whether no other process holds it."""
    try:
        if fcntl is not None:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _sweep(folder: Path) -> None:
    """Remove the temporary files of saves that were killed; those of other users stay."""
    for leftover in folder.glob(_TEMPORARY.format("[0-9a-f]" * 16)):
        with suppress(OSError):
            if leftover.is_file() and not leftover.is_symlink():
                with leftover.open("rb") as file:
                    if _locked(file.fileno()):
                        leftover.unlink()


def _sync_folder(folder: Path) -> None:
    if not hasattr(os, "O_DIRECTORY"):  # Windows has no handle on a folder
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

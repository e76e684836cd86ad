"""A folder that appears complete or not at all."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dexvla_model.errors import UserError


@contextmanager
def new_folder(folder: Path, marker: str) -> Iterator[Path]:
    """A temporary folder beside `folder` that takes its place when the block ends; an exception removes it.

    Args:
        marker: name of a file that a folder which may be replaced holds.

    Raises:
        UserError: `folder` exists and holds other things, or its parent cannot be written to.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())) and not (folder / marker).is_file():
        raise UserError(f"{folder} exists and is not a checkpoint: choose another folder.")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    except OSError as error:
        raise UserError(f"{folder} cannot be written ({error}): choose another folder.") from error
    try:
        yield temporary
        # mkdtemp makes a private folder; a checkpoint is as readable as any other.
        temporary.chmod(0o755)
        _replace(folder, temporary)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _replace(folder: Path, complete: Path) -> None:
    """Put the complete folder in the place of the old one, which is removed only after that."""
    if not folder.exists():
        os.rename(complete, folder)
        return
    old = Path(tempfile.mkdtemp(prefix=f".{folder.name}.old.", dir=folder.parent))
    try:
        os.rename(folder, old / folder.name)
        os.rename(complete, folder)
    finally:
        shutil.rmtree(old, ignore_errors=True)

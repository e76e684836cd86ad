"""A disk that is full, or a file that may not grow, as the sentence that the user needs."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dexvla_model.errors import UserError

_NO_ROOM = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EFBIG: "the file may not grow any further",
    errno.EROFS: "the disk is read-only",
    errno.EACCES: "the folder may not be written to",
}


@contextmanager
def writing_to(folder: Path) -> Iterator[None]:
    """Turn an operating system's refusal to write into a UserError about `folder`.

    Raises:
        UserError: the disk is full, over quota, or may not be written to.
    """
    try:
        yield
    except OSError as error:
        number = error.errno if error.errno in _NO_ROOM else _number_in(error)
        if number is None:
            raise
        raise UserError(
            f"{folder}: nothing more can be written there ({_NO_ROOM[number]}); make room and give the same "
            f"command "
            "again: finished episodes are kept."
        ) from error


def _number_in(error: OSError) -> int | None:
    # pyarrow leaves errno empty and puts the operating system's text into the message.
    for number in _NO_ROOM:
        if f"[errno {number}]" in str(error) or os.strerror(number) in str(error):
            return number
    return None

"""Keys from a plain terminal, one by one and at once; works over SSH, needs no display."""

import os
import select
import sys
import termios
import tty
from collections.abc import Iterator
from types import TracebackType

from dexvla_model.errors import UserError

_NAMES = {
    "\r": "enter",
    "\n": "enter",
    " ": "space",
    "\t": "tab",
    "\x7f": "backspace",
    "\b": "backspace",
    "\x1b": "escape",
}
# The last letter of a cursor key's sequence: ESC [ A, or ESC O A in application mode.
_ARROWS = {"A": "up", "B": "down", "C": "right", "D": "left"}
# The rest of a key's sequence is there within this time; a lone escape is the key.
_SEQUENCE_S = 0.02


class Terminal:
    """A context in which the terminal hands over each key as it is pressed and shows none of them.

    Ctrl-C stays an interrupt.

    Raises:
        UserError: standard input is no terminal.
    """

    def __init__(self) -> None:
        if not sys.stdin.isatty():
            raise UserError(
                "Keys are read from a terminal, but standard input is none: run this in a terminal "
                "(over SSH with ssh -t)."
            )
        self._fd = sys.stdin.fileno()

    def __enter__(self) -> "Terminal":
        self._before = termios.tcgetattr(self._fd)
        tty.setcbreak(self._fd)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        termios.tcsetattr(self._fd, termios.TCSADRAIN, self._before)

    def read(self, timeout_s: float) -> list[str]:
        """Names of the keys that were pressed, after `timeout_s` at most.

        Raises:
            EOFError: the terminal is gone.
        """
        if not self._ready(timeout_s):
            return []
        data = self._take()
        # A sequence may come in pieces.
        while data.endswith(b"\x1b") or data[-2:] in (b"\x1b[", b"\x1bO"):
            if not self._ready(_SEQUENCE_S):
                break
            data += self._take()
        return list(key_names(data.decode("utf-8", errors="ignore")))

    def _ready(self, timeout_s: float) -> bool:
        return bool(select.select([self._fd], [], [], timeout_s)[0])

    def _take(self) -> bytes:
        data = os.read(self._fd, 1024)
        if not data:
            raise EOFError("the terminal is gone")
        return data


def key_names(text: str) -> Iterator[str]:
    """The keys behind what a terminal sent; sequences of keys that have no name here are left out."""
    at = 0
    while at < len(text):
        if text[at] == "\x1b" and text[at + 1 : at + 2] in ("[", "O"):
            end = at + 2
            while end < len(text) and not text[end].isalpha() and text[end] != "~":
                end += 1
            if end < len(text) and text[end] in _ARROWS:
                yield _ARROWS[text[end]]
            at = end + 1
            continue
        yield _NAMES.get(text[at], text[at])
        at += 1

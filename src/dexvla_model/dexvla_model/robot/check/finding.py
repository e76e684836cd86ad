"""What a check has to say: one line, with file and key."""

import re
from dataclasses import dataclass
from pathlib import Path

from dexvla_model.errors import UserError

ERROR = "error"
WARNING = "warning"

# How the readers of this project begin their sentences about a key of a file.
_SENTENCE = re.compile(r"(?P<file>.+?): (?:the key )?(?P<key>[\w.\[\]-]+) (?P<text>is .+)", re.DOTALL)


@dataclass(frozen=True)
class Finding:
    """One thing that does not fit.

    Attributes:
        severity: `error` when the robot would not start, move wrongly or refuse a policy; else `warning`.
        file, key: where; `key` is dotted, or the name of a tag; empty = the whole file.
        text: what is found and what is to be done, as the rest of a sentence that begins with the key.
    """

    severity: str
    file: str
    key: str
    text: str

    def __str__(self) -> str:
        line = f"{self.severity}: {self.file}: {self.key} {self.text}" if self.key else (
            f"{self.severity}: {self.file}: {self.text}"
        )
        return " ".join(line.split())


def from_error(error: UserError, file: Path | str) -> Finding:
    """The finding that a reader's sentence is; `file` stands where the sentence names none."""
    found = _SENTENCE.fullmatch(str(error))
    if found is None:
        text = str(error)
        return Finding(ERROR, str(file), "", text.removeprefix(f"{file}: "))
    return Finding(ERROR, found["file"], found["key"], found["text"])

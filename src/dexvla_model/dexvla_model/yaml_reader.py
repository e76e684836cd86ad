"""Typed reading of YAML mappings, with errors that name file, key, what was found and what is allowed."""

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from dexvla_model.errors import UserError


def parse_yaml(text: str, source: str | Path) -> "MappingReader":
    """Parse YAML `text` into a reader of its top-level mapping.

    Raises:
        UserError: the text is no YAML (names the line) or no mapping.
    """
    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        problem = getattr(error, "problem", None) or "not readable"
        raise UserError(f"{source}{where}: this is not valid YAML ({problem}); correct the syntax there.") from error
    if not isinstance(content, Mapping):
        raise UserError(f"{source}: expected a mapping of keys at the top, found {_kind(content)}.")
    return MappingReader(content, source)


class MappingReader:
    """Takes keys out of a mapping one by one and complains about wrong, missing and left-over ones.

    Args:
        content: the parsed mapping.
        source: the file's name, for messages.
        prefix: dotted path of this mapping inside the file, for messages.
    """

    def __init__(self, content: Mapping[str, Any], source: str | Path, prefix: str = ""):
        self._content = dict(content)
        self._source = source
        self._prefix = prefix
        self._taken: set[str] = set()

    def key(self, name: str) -> str:
        """The dotted path of `name` in the file."""
        return f"{self._prefix}.{name}" if self._prefix else str(name)

    def error(self, name: str, found: str, allowed: str) -> UserError:
        return UserError(f"{self._source}: {self.key(name)} is {found}, but {allowed}.")

    def has(self, name: str) -> bool:
        return name in self._content

    def all(self) -> dict[str, Any]:
        """Every key with its value, unchecked, for a reader further on."""
        self._taken.update(self._content)
        return dict(self._content)

    def take(self, name: str) -> Any:
        self._taken.add(name)
        if name not in self._content:
            near = ", ".join(sorted(str(key) for key in self._content if key not in self._taken)) or "nothing else"
            raise UserError(f"{self._source}: the key {self.key(name)} is missing (found beside it: {near}); add it.")
        return self._content[name]

    def text(self, name: str, allowed: Sequence[str] | None = None, default: str | None = None) -> str:
        if default is not None and not self.has(name):
            return default
        value = self.take(name)
        if not isinstance(value, str) or not value:
            raise self.error(name, _kind(value), "a non-empty text is needed")
        if allowed is not None and value not in allowed:
            raise self.error(name, repr(value), f"allowed are {', '.join(allowed)}")
        return value

    def number(
        self, name: str, minimum: float = -math.inf, maximum: float = math.inf, default: float | None = None
    ) -> float:
        if default is not None and not self.has(name):
            return default
        value = self.take(name)
        # YAML 1.1 takes 1e-4, without a point, for text; everybody else takes it for a number.
        if isinstance(value, str) and re.fullmatch(r"[-+]?[0-9]+[eE][-+]?[0-9]+", value):
            value = float(value)
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise self.error(name, _kind(value), "a finite number is needed")
        if not minimum <= value <= maximum:
            raise self.error(name, str(value), f"it has to lie in [{minimum:g}, {maximum:g}]")
        return float(value)

    def integer(self, name: str, minimum: int, maximum: int, default: int | None = None) -> int:
        if default is not None and not self.has(name):
            return default
        value = self.take(name)
        if isinstance(value, bool) or not isinstance(value, int):
            raise self.error(name, _kind(value), "a whole number is needed")
        if not minimum <= value <= maximum:
            raise self.error(name, str(value), f"it has to lie in [{minimum}, {maximum}]")
        return value

    def boolean(self, name: str, default: bool | None = None) -> bool:
        if default is not None and not self.has(name):
            return default
        value = self.take(name)
        if not isinstance(value, bool):
            raise self.error(name, _kind(value), "true or false is needed")
        return value

    def mapping(self, name: str, optional: bool = False) -> "MappingReader":
        value = {} if optional and not self.has(name) else self.take(name)
        if not isinstance(value, Mapping):
            raise self.error(name, _kind(value), "a mapping of keys is needed")
        return MappingReader(value, self._source, self.key(name))

    def mappings(self, name: str) -> list["MappingReader"]:
        value = self.take(name)
        if not isinstance(value, list) or not value:
            raise self.error(name, _kind(value), "a non-empty list is needed")
        readers = []
        for index, entry in enumerate(value):
            key = f"{name}[{index}]"
            if not isinstance(entry, Mapping):
                raise self.error(key, _kind(entry), "a mapping of keys is needed")
            readers.append(MappingReader(entry, self._source, self.key(key)))
        return readers

    def entries(self, name: str, key: str) -> list["MappingReader"]:
        """A list whose entries are mappings, or texts that stand for a mapping with that one key."""
        value = self.take(name)
        if not isinstance(value, list) or not value:
            raise self.error(name, _kind(value), "a non-empty list is needed")
        self._content[name] = [{key: entry} if isinstance(entry, str) else entry for entry in value]
        return self.mappings(name)

    def texts(self, name: str) -> tuple[str, ...]:
        value = self.take(name)
        if not isinstance(value, list) or not value or not all(isinstance(entry, str) for entry in value):
            raise self.error(name, _kind(value), "a non-empty list of texts is needed")
        return tuple(value)

    def integers(self, name: str, count: int, minimum: int, maximum: int) -> tuple[int, ...]:
        value = self.take(name)
        good = isinstance(value, list) and len(value) == count
        good = good and all(isinstance(v, int) and not isinstance(v, bool) and minimum <= v <= maximum for v in value)
        if not good:
            raise self.error(name, repr(value), f"{count} whole numbers in [{minimum}, {maximum}] are needed")
        return tuple(value)

    def finish(self) -> None:
        """Complain about keys that nobody took: most are misspelt.

        Raises:
            UserError: some key is left over.
        """
        left = [str(name) for name in self._content if name not in self._taken]
        if left:
            allowed = ", ".join(sorted(self._taken)) or "none"
            raise UserError(
                f"{self._source}: {self.key(left[0])} is no known key (allowed here: {allowed}); remove or rename it."
            )


def _kind(value: Any) -> str:
    if value is None:
        return "empty"
    return f"{value!r} ({type(value).__name__})"

"""Tensors of a folder of safetensors, read one at a time.

Both layouts that transformers writes are understood: one file, or shards with an index that says which tensor
stands in which. A tensor is a view of the mapped file: nothing is copied, and pages come in as they are
touched.
"""

import json
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from safetensors import SafetensorError, safe_open

from dexvla_model.errors import UserError

SINGLE_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"

# Of a tensor in memory, in bytes: what torch allocates, and what vector instructions want.
ALIGNMENT = 64
DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}


@dataclass(frozen=True)
class TensorEntry:
    """What a file's header says of a tensor."""

    name: str
    file: Path
    shape: tuple[int, ...]
    dtype: torch.dtype

    @property
    def size(self) -> int:
        """Number of values."""
        return torch.Size(self.shape).numel()

    @property
    def bytes(self) -> int:
        return self.size * self.dtype.itemsize


class TensorSource(Protocol):
    """Named tensors on disk, in the order in which they are read best."""

    entries: dict[str, TensorEntry]

    def read(self, name: str) -> torch.Tensor:
        """The tensor of that name; it lives as long as its last reference, not as long as the source."""

    def release(self) -> None:
        """Let go of what is mapped. Tensors that were read stay valid, and more may be read."""


class TensorFiles:
    """The safetensors of a folder; see `TensorSource`."""

    def __init__(self, folder: Path, remedy: str = "restore the checkpoint") -> None:
        """Read the headers.

        Args:
            remedy: what the user is told to do about a missing or damaged file.

        Raises:
            UserError: a file, a shard or a tensor of the index is missing, or a file is damaged or cut short.
        """
        self._remedy = remedy
        self._stack = ExitStack()
        self._open: dict[Path, safe_open] = {}
        self.entries: dict[str, TensorEntry] = {}
        index = folder / INDEX_FILE
        if index.is_file():
            self._read_shards(folder, index)
        elif (folder / SINGLE_FILE).is_file():
            self.entries = {entry.name: entry for entry in self._headers(folder / SINGLE_FILE)}
        else:
            raise UserError(f"{folder / SINGLE_FILE} is missing, and so is {INDEX_FILE}: {remedy}.")

    def _read_shards(self, folder: Path, index: Path) -> None:
        try:
            places = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
            shards = sorted(set(places.values()))
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise UserError(
                f"{index} cannot be read ({type(error).__name__}: {error}): {self._remedy}."
            ) from error
        for shard in shards:
            names = sorted(name for name, file in places.items() if file == shard)
            path = folder / Path(shard).name
            if not path.is_file():
                raise UserError(
                    f"{index}: the shard {shard} with {len(names)} tensors such as {names[0]!r} is missing "
                    "from the "
                    f"folder: {self._remedy}."
                )
            found = {entry.name: entry for entry in self._headers(path)}
            for name in names:
                if name not in found:
                    raise UserError(
                        f"{path}: tensor {name!r}, which {index.name} places in this file, is missing: "
                        f"{self._remedy}."
                    )
            self.entries |= found

    def _headers(self, path: Path) -> Iterator[TensorEntry]:
        file = self._file(path)
        names = file.keys()
        try:
            for name in file.offset_keys() if hasattr(file, "offset_keys") else names:
                part = file.get_slice(name)
                code = part.get_dtype()
                if code not in DTYPES:
                    raise UserError(
                        f"{path}: tensor {name!r} has the type {code}, allowed are {', '.join(DTYPES)}."
                    )
                yield TensorEntry(name, path, tuple(part.get_shape()), DTYPES[code])
        finally:
            self.release()

    def _file(self, path: Path) -> safe_open:
        if path not in self._open:
            try:
                self._open[path] = self._stack.enter_context(safe_open(path, framework="pt"))
            except (OSError, SafetensorError) as error:
                raise UserError(f"{path} cannot be read ({error}): {self._remedy}.") from error
        return self._open[path]

    def read(self, name: str) -> torch.Tensor:
        """See `TensorSource`."""
        entry = self.entries[name]
        if entry.file not in self._open:
            # Tensors come file by file: of those before, nothing has to stay mapped.
            self.release()
        try:
            return self._file(entry.file).get_tensor(name)
        except (OSError, SafetensorError) as error:
            raise UserError(
                f"{entry.file}: tensor {name!r} cannot be read ({error}): {self._remedy}."
            ) from error

    def release(self) -> None:
        """See `TensorSource`."""
        self._stack.close()
        self._open.clear()


def is_finite(tensor: torch.Tensor) -> bool:
    """Whether no value is infinite or NaN; in one pass, without a mask as large as the tensor."""
    if not tensor.is_floating_point() or not tensor.numel():
        return True
    low, high = torch.aminmax(tensor)
    return bool(torch.isfinite(low)) and bool(torch.isfinite(high))

"""Writing tensors as safetensors: one file when they are few, shards with an index when they are many."""

import json
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import torch

from dexvla_model.checkpoint.tensor_files import ALIGNMENT, DTYPES, INDEX_FILE, SINGLE_FILE
from dexvla_model.errors import UserError

# Of a shard; what is held in memory while a large checkpoint is written.
MAX_SHARD_BYTES = 2**30

_CODES = {dtype: code for code, dtype in DTYPES.items()}


class TensorWriter:
    """Takes tensors one by one and writes a shard whenever one is full.

    Use it as a context: leaving it writes the last shard, and the index when there are several. When the
        block
    raises, what was written is left as it is: the folder is a temporary one.
    """

    def __init__(
        self, folder: Path, dtype: torch.dtype | None = None, max_shard_bytes: int = MAX_SHARD_BYTES
    ) -> None:
        """`dtype`: of all floating-point tensors; None keeps the type of each."""
        self._folder = folder
        self._dtype = dtype
        self._max_shard_bytes = max_shard_bytes
        self._pending: dict[str, torch.Tensor] = {}
        self._pending_bytes = 0
        self._shards: list[tuple[Path, list[str]]] = []
        self.total_bytes = 0

    @property
    def shards(self) -> int:
        """How many have been written."""
        return len(self._shards)

    def add(self, name: str, tensor: torch.Tensor) -> None:
        """Take a tensor; it is let go of when its shard is written."""
        dtype = self._dtype if self._dtype is not None and tensor.is_floating_point() else tensor.dtype
        tensor = tensor.detach().to("cpu", dtype).contiguous()
        size = tensor.nbytes
        if self._pending and self._pending_bytes + size > self._max_shard_bytes:
            self._flush()
        self._pending[name] = tensor
        self._pending_bytes += size
        self.total_bytes += size

    def _flush(self) -> None:
        path = self._folder / f"shard-{len(self._shards) + 1:05}.safetensors"
        save_tensors(path, self._pending)
        self._shards.append((path, list(self._pending)))
        self._pending, self._pending_bytes = {}, 0

    def __enter__(self) -> "TensorWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            return
        if self._pending or not self._shards:
            self._flush()
        count = len(self._shards)
        if count == 1:
            self._shards[0][0].rename(self._folder / SINGLE_FILE)
            return
        places = {}
        for number, (path, names) in enumerate(self._shards, start=1):
            file = f"model-{number:05}-of-{count:05}.safetensors"
            path.rename(self._folder / file)
            places |= dict.fromkeys(names, file)
        content = {"metadata": {"total_size": self.total_bytes}, "weight_map": dict(sorted(places.items()))}
        (self._folder / INDEX_FILE).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def save_tensors(path: Path, tensors: Mapping[str, torch.Tensor]) -> None:
    """Write contiguous CPU tensors as one safetensors file, each where a processor reads it best.

    The format (an 8-byte length, a JSON header, the data) is written here because the library packs tensors
    without alignment: mapped from such a file, they compute other roundings than the same tensors in memory
    do.

    Raises:
        UserError: the file cannot be written, as on a full disk.
    """
    # Those whose size keeps the next one aligned come first.
    ordered = sorted(tensors, key=lambda name: tensors[name].nbytes % ALIGNMENT != 0)
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name in ordered:
        tensor = tensors[name]
        start, end = end, end + tensor.nbytes
        header[name] = {
            "dtype": _CODES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [start, end],
        }
    text = json.dumps(header, separators=(",", ":")).encode("utf-8")
    text += b" " * (-(len(text) + 8) % ALIGNMENT)
    try:
        with path.open("wb") as file:
            file.write(len(text).to_bytes(8, "little") + text)
            for name in ordered:
                file.write(tensors[name].reshape(-1).view(torch.uint8).numpy())
    except OSError as error:
        raise UserError(
            f"{path} with {end / 1e9:.2f} GB cannot be written ({error}): free space on the disk or choose "
            "another "
            "folder."
        ) from error

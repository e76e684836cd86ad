"""The published code's `dataset_stats.pkl`, read without running anything that it says.

It is a pickled dictionary of numpy arrays. A pickle is a program: it may name any function of any module and
call it. This reader knows the few names by which numpy pickles an array, puts functions of its own in their
place, and refuses every other; not even numpy's own functions are called.

The published normalisation, which `Statistics` reproduces:

    state    (q - qpos_mean) / qpos_std
    action   (a - action_min) / (action_max - action_min) * 2 - 1

where qpos_std is at least 1e-2, and the extremes are 1e-4 wider than the data.
"""

import math
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dexvla_model.errors import UserError
from dexvla_model.normalization import Statistics

STATISTICS_PICKLE = "dataset_stats.pkl"
# The keys that are used, and what they become. The file holds action_mean, action_std and example_qpos, too.
_KEYS = {
    "qpos_mean": "state_mean",
    "qpos_std": "state_std",
    "action_min": "action_min",
    "action_max": "action_max",
}
# The file holds one episode's states at most; this is a hundred times that.
_LARGEST_BYTES = 256 * 2**20
_CORES = ("numpy.core", "numpy._core")


def read_dataset_statistics(path: Path) -> Statistics:
    """The statistics of a published checkpoint.

    Raises:
        UserError: the file is missing or damaged, holds anything but numbers, or lacks a key; or a value has
            another length than its partner or is not finite.
    """
    content = _unpickle(path)
    if not isinstance(content, dict):
        raise UserError(
            f"{path} holds a {type(content).__name__}, needed is a table with {', '.join(_KEYS)}."
        )
    tensors = {}
    for key, name in _KEYS.items():
        if key not in content:
            found = ", ".join(sorted(map(str, content))) or "nothing"
            raise UserError(f"{path}: key {key!r} is missing, the file holds {found}.")
        value = content[key]
        if not isinstance(value, np.ndarray) or value.ndim != 1 or value.dtype.kind not in "fiu":
            raise UserError(f"{path}: {key} is no list of numbers but {_describe(value)}.")
        if not np.isfinite(value).all():
            raise UserError(f"{path}: {key} holds values that are not finite: {value.tolist()}.")
        tensors[name] = torch.from_numpy(value.astype(np.float64))
    for first, second in (("qpos_mean", "qpos_std"), ("action_min", "action_max")):
        sizes = len(tensors[_KEYS[first]]), len(tensors[_KEYS[second]])
        if sizes[0] != sizes[1]:
            raise UserError(
                f"{path}: {first} has {sizes[0]} values, {second} has {sizes[1]}; they must agree."
            )
    if (tensors["action_max"] <= tensors["action_min"]).any() or (tensors["state_std"] <= 0).any():
        raise UserError(
            f"{path}: action_max must be above action_min and qpos_std above 0 in every dimension."
        )
    # The published actions are absolute: no dimension is relative to the state.
    return Statistics(**tensors, relative_to=(-1,) * len(tensors["action_min"]))


def _describe(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"an array of shape {value.shape} and type {value.dtype}"
    return f"a {type(value).__name__}"


def _unpickle(path: Path) -> Any:
    try:
        if path.stat().st_size > _LARGEST_BYTES:
            raise UserError(
                f"{path} has {path.stat().st_size} bytes, statistics have at most {_LARGEST_BYTES}: give "
                "another file."
            )
        with path.open("rb") as file:
            return _finished(_NumbersUnpickler(file, path).load())
    except UserError:
        raise
    except Exception as error:
        # A damaged pickle raises nearly anything.
        raise UserError(
            f"{path} cannot be read ({type(error).__name__}: {error}): copy the file from where the policy "
            "was trained."
        ) from error


class _PickledType:
    """Stands for numpy.dtype(code, align, copy) and what __setstate__ adds: the byte order."""

    def __init__(self, code: str, *_: Any) -> None:
        if not isinstance(code, str) or len(code) > 3 or code[:1] not in "fiub":
            raise ValueError(f"an array of type {code!r}, allowed are numbers")
        self.type = np.dtype(code)

    def __setstate__(self, state: tuple) -> None:
        if state[1] in ("<", ">"):
            self.type = self.type.newbyteorder(state[1])


class _PickledArray:
    """Stands for what numpy's _reconstruct(...) makes; __setstate__ brings the numbers."""

    def __init__(self, *_: Any) -> None:
        self.array: np.ndarray | None = None

    def __setstate__(self, state: tuple) -> None:
        _, shape, kind, fortran, data = state
        self.array = _array(data, kind, shape, "F" if fortran else "C")


def _array(data: Any, kind: Any, shape: Any, order: str) -> np.ndarray:
    """An array over bytes; a copy in native byte order."""
    if not isinstance(kind, _PickledType) or not isinstance(data, (bytes, bytearray)):
        raise ValueError("an array of something else than numbers")
    if math.prod(shape) * kind.type.itemsize != len(data):
        raise ValueError(f"an array of shape {shape} with {len(data)} bytes")
    flat = np.frombuffer(data, kind.type)
    return flat.astype(kind.type.newbyteorder("=")).reshape(shape, order=order)


def _from_buffer(data: Any, kind: Any, shape: Any, order: str) -> np.ndarray:
    return _array(bytes(data), kind, shape, "F" if order == "F" else "C")


def _scalar(kind: Any, data: Any) -> np.ndarray:
    return _array(data, kind, (), "C")


def _encode(text: str, encoding: str = "latin1") -> bytes:
    """Stands for _codecs.encode, by which protocol 2 writes bytes."""
    if encoding != "latin1":
        raise ValueError(f"bytes written in {encoding!r}")
    return text.encode("latin1")


def _array_class(*_: Any) -> None:
    raise ValueError("an array that is made by calling numpy.ndarray")


_ALLOWED: Mapping[tuple[str, str], Any] = {
    ("numpy", "ndarray"): _array_class,
    ("numpy", "dtype"): _PickledType,
    ("_codecs", "encode"): _encode,
    **{(f"{core}.multiarray", "_reconstruct"): _PickledArray for core in _CORES},
    **{(f"{core}.multiarray", "scalar"): _scalar for core in _CORES},
    **{(f"{core}.numeric", "_frombuffer"): _from_buffer for core in _CORES},
}


class _NumbersUnpickler(pickle.Unpickler):
    """Reads containers of numbers and arrays; any other name ends it before anything is called."""

    def __init__(self, file: Any, path: Path) -> None:
        super().__init__(file)
        self._path = path

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise UserError(
                f"{self._path} refers to {module}.{name}, which is no array of numbers: nothing of the file "
                "was run; "
                "give a file that the published training code wrote."
            )
        return _ALLOWED[module, name]


def _finished(content: Any) -> Any:
    """The same, with arrays in the place of what stood for them."""
    if isinstance(content, dict):
        return {key: _finished(value) for key, value in content.items()}
    return content.array if isinstance(content, _PickledArray) else content

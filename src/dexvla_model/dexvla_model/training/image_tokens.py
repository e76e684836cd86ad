"""Image tokens of all frames, made once: a vision tower that does not learn says the same every time."""

import hashlib
import json
import os
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import torch

from dexvla_model.baselines.action_tokens import ActionTokens
from dexvla_model.data.datasets import DatasetChoice
from dexvla_model.data.source import FrameSource
from dexvla_model.dexvla import DexVLA
from dexvla_model.vlm.backbone import ImageTokens

# Models that have a vision tower.
WithTower = DexVLA | ActionTokens
FOLDER = "image_tokens"
# Frames that go through the tower at once.
_AT_ONCE = 64
# NumPy has no bfloat16; its bits travel as whole numbers.
_STORED = {torch.bfloat16: (np.int16, torch.int16), torch.float32: (np.float32, torch.float32)}


class ImageTokenTable:
    """The tokens of N frames in a mapped file.

    Args:
        path: of (N, layers, tokens, width) numbers: the tokens, then those of DeepStack.
        shape: of that file. dtype: of the tokens.
    """

    def __init__(self, path: Path, shape: tuple[int, ...], dtype: torch.dtype):
        self._numbers = np.memmap(path, _STORED[dtype][0], "r", shape=shape)
        self._dtype = dtype

    def __len__(self) -> int:
        return len(self._numbers)

    def of(self, frames: np.ndarray) -> ImageTokens:
        """The tokens of B frames."""
        layers = torch.from_numpy(np.ascontiguousarray(self._numbers[frames])).view(self._dtype)
        return ImageTokens(layers[:, 0], tuple(layers[:, 1:].unbind(1)))


def table_of_frames(
    model: WithTower,
    embodiment: str,
    frames: FrameSource,
    key: str,
    folder: Path,
    device: torch.device,
    dtype: torch.dtype = torch.float32,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> ImageTokenTable:
    """The tokens of all frames of one robot: those in the folder if they are of `key`, or new ones.

    Args:
        key: of weights and data, by `key_of`; tokens of another key are thrown away.
        folder: where they are kept.
        dtype: bfloat16 to compute and keep them so, as in training with mixed precision; or float32.
        progress: called with the number of frames done and their total.
    """
    path, note = folder / f"{embodiment}.bin", folder / f"{embodiment}.json"
    kept = json.loads(note.read_text(encoding="utf-8")) if note.is_file() and path.is_file() else {}
    if kept.get("key") != key:
        note.unlink(missing_ok=True)
        folder.mkdir(parents=True, exist_ok=True)
        shape = _write(model, embodiment, frames, path, device, dtype, progress)
        kept = {"key": key, "shape": shape}
        temporary = note.with_suffix(".tmp")
        temporary.write_text(json.dumps(kept), encoding="utf-8")
        os.replace(temporary, note)
    return ImageTokenTable(path, tuple(kept["shape"]), dtype)


@torch.no_grad()
def _write(
    model: WithTower,
    embodiment: str,
    frames: FrameSource,
    path: Path,
    device: torch.device,
    dtype: torch.dtype,
    progress: Callable[[int, int], None],
) -> list[int]:
    """Write the file; returns its shape."""
    cameras, table = model.embodiment(embodiment).cameras, None
    temporary = path.with_suffix(".tmp")
    for first in range(0, len(frames), _AT_ONCE):
        views = frames.images_of(np.arange(first, min(first + _AT_ONCE, len(frames))))
        images = {role: torch.from_numpy(views[role]).to(device) for role in cameras}
        with torch.autocast(device.type, torch.bfloat16, enabled=dtype is torch.bfloat16):
            seen = model.vlm.encode_images(images)
        layers = torch.stack([seen.tokens, *seen.deepstack], dim=1).to(dtype)
        stored, bits = _STORED[dtype]
        if table is None:
            table = np.memmap(temporary, stored, "w+", shape=(len(frames), *layers.shape[1:]))
        table[first : first + len(layers)] = layers.cpu().view(bits).numpy()
        progress(first + len(layers), len(frames))
    table.flush()
    os.replace(temporary, path)
    return list(table.shape)


def key_of(
    model: WithTower,
    embodiment: str,
    datasets: Iterable[DatasetChoice],
    frames: int,
    dtype: torch.dtype,
) -> str:
    """What tokens depend on: the tower's weights, cameras, the datasets' files, and the numbers' type."""
    digest = hashlib.sha256()
    towers = (model.vlm.qwen.model.visual, model.vlm.patch_positions)
    for tower in (tower for tower in towers if tower is not None):
        for name, tensor in tower.state_dict().items():
            digest.update(name.encode())
            digest.update(tensor.detach().cpu().float().contiguous().numpy().tobytes())
    digest.update(repr((model.embodiment(embodiment).cameras, frames, str(dtype))).encode())
    for choice in datasets:
        digest.update(repr((choice.only_success, sorted(choice.cameras.items()))).encode())
        for path in sorted(path for path in choice.folder.rglob("*") if path.is_file()):
            known = path.stat()
            name = str(path.relative_to(choice.folder))
            digest.update(repr((name, known.st_size, known.st_mtime_ns)).encode())
    return digest.hexdigest()

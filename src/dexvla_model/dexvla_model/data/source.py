"""Where training takes its frames from: one interface for a dataset and for several behind one another."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np


class FrameSource(Protocol):
    """N frames of many episodes, one behind the other. `frames` are indices among them, of any shape (...,).

    Attributes:
        objects: names of the O objects in the order of the grounding; empty without grounding.
        last_frame: (N,) index of the last frame of each frame's episode.
        stride: frames from one row of an action chunk to the next.
        horizon: rows of an action chunk.
    """

    objects: tuple[str, ...]
    last_frame: np.ndarray
    stride: int

    @property
    def horizon(self) -> int: ...

    def __len__(self) -> int: ...

    def images_of(self, frames: np.ndarray) -> dict[str, np.ndarray]:
        """By camera role, (B, H, W, 3) uint8 RGB at the model's size."""

    def states_of(self, frames: np.ndarray) -> np.ndarray:
        """(..., S) float32 rad."""

    def chunks_of(self, frames: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """(..., T, A) float32 rad, and (..., T) bool, true where the episode is over; None where it never
        is."""

    def grounding_of(self, frames: np.ndarray) -> np.ndarray | None:
        """(B, O, V) uint8, the share (of 255) of each vision token that shows each object; None if not
        known."""

    def name_objects(self, objects: tuple[str, ...]) -> None:
        """Give the grounding of these objects from now on, those of `objects` among them; others are in no
        picture. Nothing happens without grounding."""

    def instructions_of(self, frames: np.ndarray) -> list[str]:
        """B texts."""

    def sub_steps_of(self, frames: np.ndarray) -> list[str]:
        """B texts."""

    def texts(self) -> list[str]:
        """Instructions and sub-steps of all frames, for a tokenizer."""


def later(source: FrameSource, frames: np.ndarray, delays: np.ndarray) -> np.ndarray:
    """Frames `delays` action steps after `frames`, not beyond the end of their episodes; of one (broadcast)
    shape."""
    return np.minimum(frames + delays * source.stride, source.last_frame[frames])


def united_objects(sources: Sequence[FrameSource]) -> tuple[str, ...]:
    """Names of all objects that some source knows of, in the order in which they first come."""
    return tuple(dict.fromkeys(name for source in sources for name in source.objects))


class ConcatenatedFrames:
    """Several sources of one robot, one behind the other."""

    def __init__(self, sources: Sequence[FrameSource]):
        self.sources = list(sources)
        # A loss over part of a batch would need a mask of its own: grounding is known for all sources, or for
        # none.
        self.objects: tuple[str, ...] = ()
        if all(source.objects for source in sources):
            self.name_objects(united_objects(sources))
        self.stride = sources[0].stride
        self._first = np.cumsum([0, *(len(source) for source in sources)])
        self.last_frame = np.concatenate(
            [source.last_frame + first for source, first in zip(sources, self._first)]
        )

    @property
    def horizon(self) -> int:
        return self.sources[0].horizon

    def __len__(self) -> int:
        return int(self._first[-1])

    def images_of(self, frames: np.ndarray) -> dict[str, np.ndarray]:
        parts = self._parts(frames, "images_of")
        return {
            role: self._merge(frames, {n: part[role] for n, part in parts.items()})
            for role in parts[min(parts)]
        }

    def states_of(self, frames: np.ndarray) -> np.ndarray:
        return self._merge(frames, self._parts(frames, "states_of"))

    def chunks_of(self, frames: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        parts = self._parts(frames, "chunks_of")
        chunks = self._merge(frames, {n: chunk for n, (chunk, _) in parts.items()})
        if all(is_pad is None for _, is_pad in parts.values()):
            return chunks, None
        pads = {
            n: np.zeros(chunk.shape[:-1], bool) if pad is None else pad for n, (chunk, pad) in parts.items()
        }
        return chunks, self._merge(frames, pads)

    def grounding_of(self, frames: np.ndarray) -> np.ndarray | None:
        return self._merge(frames, self._parts(frames, "grounding_of")) if self.objects else None

    def name_objects(self, objects: tuple[str, ...]) -> None:
        if all(source.objects for source in self.sources):
            self.objects = objects
            for source in self.sources:
                if source.objects != objects:
                    source.name_objects(objects)

    def instructions_of(self, frames: np.ndarray) -> list[str]:
        return self._merge_texts(frames, "instructions_of")

    def sub_steps_of(self, frames: np.ndarray) -> list[str]:
        return self._merge_texts(frames, "sub_steps_of")

    def texts(self) -> list[str]:
        return [text for source in self.sources for text in source.texts()]

    def _parts(self, frames: np.ndarray, method: str) -> dict:
        """What each source that some frames are of says of them, by its number."""
        owner = self._owner(frames)
        return {
            int(number): getattr(self.sources[number], method)(frames[owner == number] - self._first[number])
            for number in np.unique(owner)
        }

    def _owner(self, frames: np.ndarray) -> np.ndarray:
        return np.searchsorted(self._first, frames, side="right") - 1

    def _merge(self, frames: np.ndarray, parts: dict[int, np.ndarray]) -> np.ndarray:
        owner = self._owner(frames)
        first = parts[min(parts)]
        merged = np.empty((*frames.shape, *first.shape[1:]), dtype=first.dtype)
        for number, part in parts.items():
            merged[owner == number] = part
        return merged

    def _merge_texts(self, frames: np.ndarray, method: str) -> list[str]:
        merged = np.empty(len(frames), dtype=object)
        owner = self._owner(frames)
        for number, part in self._parts(frames, method).items():
            merged[owner == number] = part
        return merged.tolist()

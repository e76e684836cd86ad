"""Writing one episode, frame by frame: images go straight into the encoders and are never held."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from PIL import Image

from dexvla_model.data.lerobot.features import arrow_array, arrow_schema
from dexvla_model.data.lerobot.language import SubStepMark, persistent_rows
from dexvla_model.data.lerobot.layout import (
    ACTION,
    IMAGE_PREFIX,
    LANGUAGE_EVENTS,
    LANGUAGE_PERSISTENT,
    STAMP,
    STATE,
)
from dexvla_model.data.lerobot.specification import DatasetSpecification
from dexvla_model.data.lerobot.staging import EpisodeRecord, EpisodeStage
from dexvla_model.data.lerobot.statistics import ImageStatistics, vector_statistics
from dexvla_model.data.lerobot.storage import writing_to
from dexvla_model.data.lerobot.video import VideoThread, VideoWriter

# Columns that are known only when the episode gets its place among the others.
PLACED = ("episode_index", "index", "task_index")
# Share of a period by which the time between two frames may be off: each may be half a period off its tick.
_STAMP_TOLERANCE = 1.0
# Every so many frames' images are counted into the statistics.
_COUNTED_EVERY = 5
# Of zlib: level 6 takes twice as long for files that are a tenth smaller.
_PNG_LEVEL = 1


class InvalidFrame(Exception):
    """A frame or episode that may not go into a dataset: a shape, size, stamp or value is wrong."""


class EpisodeWriter:
    """One episode on its way into a dataset; made by `DatasetWriter.begin_episode`.

    As a context manager it aborts the episode when an exception leaves the block before `end`.

    Args:
        index: number of the episode among the staged ones.
        threads: encode each camera in a thread of its own; not where episodes are written in parallel
            processes.
    """

    def __init__(
        self,
        stage: EpisodeStage,
        index: int,
        specification: DatasetSpecification,
        instruction: str,
        source: str,
        threads: bool = True,
    ):
        if not instruction.strip():
            raise InvalidFrame("the episode has no instruction")
        self._stage = stage
        self._index = index
        self._specification = specification
        self._instruction = instruction
        self._source = source
        self._info = specification.info()
        vectors = [
            name for name in specification.features if name in self._info.vector_keys and name != STAMP
        ]
        self._columns: dict[str, list[Any]] = {name: [] for name in vectors}
        self._stamps_ns: list[int] = []
        self._pictures: dict[str, list[bytes]] = {key: [] for key in self._info.image_keys}
        self._statistics = {key: ImageStatistics() for key in self._info.camera_keys}
        self._videos: dict[str, VideoThread | VideoWriter] = {}
        self._open = True
        with writing_to(stage.folder):
            self._folder = stage.begin(index)
            for key in self._info.video_keys:
                height, width, _ = specification.features[key]["shape"]
                writer = VideoWriter(
                    self._video_path(key), width, height, specification.fps, specification.video
                )
                self._videos[key] = VideoThread(writer) if threads else writer

    def __enter__(self) -> "EpisodeWriter":
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if self._open:
            self.abort()

    def __len__(self) -> int:
        return len(self._stamps_ns)

    def add_frame(
        self,
        stamp_ns: int,
        state: np.ndarray,
        action: np.ndarray,
        images: Mapping[str, np.ndarray],
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        """Append a frame.

        Args:
            stamp_ns: time of the frame on the recorder's clock, in ns; frames stand 1 / fps apart, give or
                take less than that.
            state: (S,) and action: (A,), in the units and order of the robot file.
            images: by camera role, (H, W, 3) uint8 RGB of the size that the specification says.
            extra: values of the specification's further features.

        Raises:
            InvalidFrame: something does not fit; the episode is as it was before.
            UserError: the disk is full.
        """
        values = {STATE: state, ACTION: action} | dict(extra or {})
        checked = {name: self._checked(name, values) for name in self._columns}
        unknown = set(values) - set(self._columns)
        if unknown:
            raise InvalidFrame(
                f"the dataset has no feature {sorted(unknown)[0]}, only {', '.join(self._columns)}"
            )
        pictures = self._checked_images(images)
        self._check_stamp(int(stamp_ns))
        for name, value in checked.items():
            self._columns[name].append(value)
        with writing_to(self._folder):
            for key, image in pictures.items():
                if len(self) % _COUNTED_EVERY == 0:
                    self._statistics[key].add(image)
                if key in self._videos:
                    self._videos[key].add(image)
                else:
                    self._pictures[key].append(_png(image))
        self._stamps_ns.append(int(stamp_ns))

    def end(
        self,
        sub_steps: Sequence[SubStepMark] = (),
        success: bool | None = None,
        outcome: str = "",
        metadata: Mapping[str, Any] | None = None,
    ) -> EpisodeRecord:
        """The episode is complete: write what is left, and count it among the dataset's.

        Args:
            sub_steps: from when on the robot does what; times from the first frame.
            success, outcome, metadata: see `EpisodeRecord`.

        Raises:
            InvalidFrame: there is no frame.
            UserError: the disk is full.
        """
        if not len(self):
            self.abort()
            raise InvalidFrame("the episode has no frame")
        with writing_to(self._folder):
            for video in self._videos.values():
                video.close()
            self._open = False
            table = self._table(sub_steps)
            sizes = {key: self._video_path(key).stat().st_size for key in self._videos}
            sizes["data"] = self._stage.write_rows(self._index, table)
            record = EpisodeRecord(
                source=self._source,
                instruction=self._instruction,
                frames=len(self),
                start_stamp_ns=self._stamps_ns[0],
                success=success,
                outcome=outcome,
                metadata=dict(metadata or {}),
                statistics=self._measured(table),
                bytes=sizes,
            )
            self._stage.commit(self._index, record)
        return record

    def abort(self) -> None:
        """Forget the episode."""
        if self._open:
            self._open = False
            for video in self._videos.values():
                try:
                    video.close()
                except (OSError, ValueError):
                    pass  # it is thrown away
        self._stage.discard(self._index)

    def _video_path(self, key: str) -> Path:
        return self._folder / f"{key}.mp4"

    def _checked(self, name: str, values: Mapping[str, Any]) -> np.ndarray:
        if name not in values:
            raise InvalidFrame(f"the frame has no {name}")
        feature = self._specification.features[name]
        value = np.asarray(values[name]).astype(feature["dtype"])
        shape = tuple(feature["shape"])
        if value.shape != shape and not (shape == (1,) and value.shape == ()):
            raise InvalidFrame(f"{name} has the shape {value.shape}, needed is {shape}")
        if not np.isfinite(value).all():
            place = int(np.argmin(np.isfinite(value.ravel())))
            bad = feature["names"][place] if shape == (len(feature.get("names") or ()),) else f"entry {place}"
            raise InvalidFrame(f"{name} of {bad} is not finite")
        return value.reshape(()) if shape == (1,) else value

    def _checked_images(self, images: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        checked = {}
        for key in self._info.camera_keys:
            role = key.removeprefix(IMAGE_PREFIX)
            if role not in images:
                raise InvalidFrame(f"there is no image of the camera {role}")
            image, shape = images[role], tuple(self._specification.features[key]["shape"])
            if image.shape != shape or image.dtype != np.uint8:
                raise InvalidFrame(
                    f"the image of the camera {role} has the shape {image.shape} and type {image.dtype}, "
                    f"needed is {shape} uint8"
                )
            checked[key] = image
        return checked

    def _check_stamp(self, stamp_ns: int) -> None:
        if not self._stamps_ns:
            return
        if stamp_ns <= self._stamps_ns[-1]:
            raise InvalidFrame(
                f"the stamp {stamp_ns} ns is not after the one before it, {self._stamps_ns[-1]} ns"
            )
        # From frame to frame: a camera's clock that is a little off the rate drifts without end.
        period_ns = 1e9 / self._specification.fps
        late_ns = stamp_ns - self._stamps_ns[-1] - period_ns
        if abs(late_ns) > _STAMP_TOLERANCE * period_ns:
            raise InvalidFrame(
                f"frame {len(self)} is stamped {late_ns / 1e6:+.1f} ms off the dataset's rate of "
                f"{self._specification.fps:g} Hz"
            )

    def _table(self, sub_steps: Sequence[SubStepMark]) -> pa.Table:
        """Every column of the episode but those that its place among the others decides."""
        frames, fps = len(self), self._specification.fps
        indices = np.arange(frames)
        rows = persistent_rows(sub_steps, fps)
        known: dict[str, Any] = {name: np.stack(values) for name, values in self._columns.items()}
        known |= {
            "timestamp": (indices / fps).astype(np.float32),
            "frame_index": indices,
            STAMP: np.array(self._stamps_ns, dtype=np.int64),
        }
        lists: dict[str, list] = {LANGUAGE_PERSISTENT: [rows] * frames, LANGUAGE_EVENTS: [[]] * frames}
        for key, encoded in self._pictures.items():
            lists[key] = [{"bytes": png, "path": None} for png in encoded]
        schema = arrow_schema(self._info.features)
        fields = [field for field in schema if field.name in known or field.name in lists]
        columns = [
            pa.array(lists[f.name], type=f.type) if f.name in lists else arrow_array(known[f.name], f.type)
            for f in fields
        ]
        return pa.Table.from_arrays(columns, schema=pa.schema(fields))

    def _measured(self, table: pa.Table) -> dict[str, dict[str, np.ndarray]]:
        kept = self._info.measured_keys
        measured = {
            name: vector_statistics(np.stack(values))
            for name, values in self._columns.items()
            if name in kept
        }
        for name in ("timestamp", "frame_index", STAMP):
            if name in table.column_names:
                measured[name] = vector_statistics(table[name].to_numpy())
        return measured | {key: statistics.result() for key, statistics in self._statistics.items()}


def _png(image: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG", compress_level=_PNG_LEVEL)
    return buffer.getvalue()

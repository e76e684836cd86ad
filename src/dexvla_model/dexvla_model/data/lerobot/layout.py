"""Where things stand in a LeRobot dataset of version 3.0, and `meta/info.json`.

The layout is that of huggingface/lerobot (src/lerobot/datasets, 0.6): many episodes share one Parquet file of
frames and one MP4 per camera; `meta/episodes/` says where each episode begins.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from dexvla_model.errors import UserError

CODEBASE_VERSION = "v3.0"
INFO_FILE = "meta/info.json"
STATS_FILE = "meta/stats.json"
TASKS_FILE = "meta/tasks.parquet"
EPISODES_PATH = "meta/episodes/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
DATA_PATH = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
VIDEO_PATH = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"
# Ours: LeRobot does not look at it. The robot file's text, word for word.
ROBOT_FILE = "meta/robot.yaml"
# What a writer has not finished; no reader looks in there.
UNFINISHED_FOLDER = ".unfinished"

STATE = "observation.state"
ACTION = "action"
IMAGE_PREFIX = "observation.images."
# Time of a frame on the recorder's clock; `timestamp` is exactly frame_index / fps, as LeRobot wants it.
STAMP = "stamp_ns"
LANGUAGE_PERSISTENT = "language_persistent"
LANGUAGE_EVENTS = "language_events"

# Columns that every LeRobot dataset has, filled in by the writer.
DEFAULT_FEATURES: dict[str, dict[str, Any]] = {
    "timestamp": {"dtype": "float32", "shape": [1], "names": None},
    "frame_index": {"dtype": "int64", "shape": [1], "names": None},
    "episode_index": {"dtype": "int64", "shape": [1], "names": None},
    "index": {"dtype": "int64", "shape": [1], "names": None},
    "task_index": {"dtype": "int64", "shape": [1], "names": None},
}


@dataclass(frozen=True)
class FileLimits:
    """How large files may grow before the next one is begun, in MB (2**20 bytes), and files per chunk
    folder."""

    data_mb: int = 100
    video_mb: int = 200
    chunk_files: int = 1000

    def next_file(self, chunk_index: int, file_index: int) -> tuple[int, int]:
        """Chunk and file that follow."""
        return (chunk_index + 1, 0) if file_index + 1 >= self.chunk_files else (chunk_index, file_index + 1)


@dataclass(frozen=True)
class DatasetInfo:
    """`meta/info.json`.

    Attributes:
        fps: frames per s; a whole number in every dataset that LeRobot itself records.
        features: by name, {dtype, shape, names, ...}; dtype is a NumPy name, `string`, `image`, `video` or
            `language`.
        robot_type: name of the robot, or None.
    """

    fps: float
    features: Mapping[str, Mapping[str, Any]]
    robot_type: str | None = None
    codebase_version: str = CODEBASE_VERSION
    total_episodes: int = 0
    total_frames: int = 0
    total_tasks: int = 0
    splits: Mapping[str, str] = field(default_factory=dict)
    data_path: str = DATA_PATH
    video_path: str | None = VIDEO_PATH
    limits: FileLimits = FileLimits()

    @property
    def video_keys(self) -> tuple[str, ...]:
        return tuple(name for name, feature in self.features.items() if feature["dtype"] == "video")

    @property
    def image_keys(self) -> tuple[str, ...]:
        return tuple(name for name, feature in self.features.items() if feature["dtype"] == "image")

    @property
    def camera_keys(self) -> tuple[str, ...]:
        return tuple(
            name for name, feature in self.features.items() if feature["dtype"] in ("image", "video")
        )

    @property
    def vector_keys(self) -> tuple[str, ...]:
        """Features of numbers, as opposed to pictures and texts."""
        other = ("image", "video", "string", "language")
        return tuple(name for name, feature in self.features.items() if feature["dtype"] not in other)

    @property
    def measured_keys(self) -> tuple[str, ...]:
        """Those whose statistics are kept: those of tables (T, A) would be larger than a short episode."""
        return tuple(name for name in self.vector_keys if len(self.features[name]["shape"]) == 1)

    def counted(self, episodes: int, frames: int, tasks: int) -> "DatasetInfo":
        splits = {"train": f"0:{episodes}"}
        return replace(self, total_episodes=episodes, total_frames=frames, total_tasks=tasks, splits=splits)

    def to_json(self) -> dict[str, Any]:
        fps = int(self.fps) if float(self.fps).is_integer() else self.fps
        return {
            "codebase_version": self.codebase_version,
            "robot_type": self.robot_type,
            "total_episodes": self.total_episodes,
            "total_frames": self.total_frames,
            "total_tasks": self.total_tasks,
            "chunks_size": self.limits.chunk_files,
            "data_files_size_in_mb": self.limits.data_mb,
            "video_files_size_in_mb": self.limits.video_mb,
            "fps": fps,
            "splits": dict(self.splits),
            "data_path": self.data_path,
            "video_path": self.video_path,
            "features": {name: dict(feature) for name, feature in self.features.items()},
        }

    @classmethod
    def from_json(cls, content: Any, source: str | Path) -> "DatasetInfo":
        """The inverse of `to_json`, of any LeRobot dataset; `source` names the file in messages.

        Raises:
            UserError: a key is missing or malformed.
        """
        if not isinstance(content, Mapping):
            raise UserError(
                f"{source}: expected a table of keys, found {type(content).__name__}; restore the file."
            )
        try:
            features = {str(name): dict(feature) for name, feature in content["features"].items()}
            for name, feature in features.items():
                feature["dtype"], feature["shape"] = str(feature["dtype"]), [
                    int(size) for size in feature["shape"]
                ]
            info = cls(
                fps=float(content["fps"]),
                features=features,
                robot_type=content.get("robot_type"),
                codebase_version=str(content["codebase_version"]),
                total_episodes=int(content.get("total_episodes", 0)),
                total_frames=int(content.get("total_frames", 0)),
                total_tasks=int(content.get("total_tasks", 0)),
                splits=dict(content.get("splits") or {}),
                data_path=str(content.get("data_path") or DATA_PATH),
                video_path=content.get("video_path"),
                limits=FileLimits(
                    int(content.get("data_files_size_in_mb") or FileLimits.data_mb),
                    int(content.get("video_files_size_in_mb") or FileLimits.video_mb),
                    int(content.get("chunks_size") or FileLimits.chunk_files),
                ),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise UserError(
                f"{source}: this is no LeRobot info ({error!r} while reading it); restore the file."
            ) from error
        if not info.fps > 0:
            raise UserError(f"{source}: fps is {info.fps:g}, but it has to be above 0; correct the file.")
        return info


def read_json(path: Path) -> Any:
    """Content of a JSON file.

    Raises:
        UserError: it cannot be read.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: the file cannot be read ({error}); restore it.") from error


def write_json(path: Path, content: Any, indent: int | None = 4) -> None:
    """Write JSON; a file of that name is either whole or absent. Without `indent` it is much faster."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    temporary.write_text(json.dumps(content, indent=indent, ensure_ascii=False) + "\n", encoding="utf-8")
    os.replace(temporary, path)

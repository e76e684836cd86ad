"""Episodes that are written but not yet part of the dataset's large files.

Each is a folder of its own under `.unfinished/episodes`: its rows, one MP4 per camera, and `episode.json`,
which appears, with the folder's final name, when the episode is whole. So several processes may write
episodes at once, an episode that was killed leaves nothing that counts, and nobody who opens the dataset sees
any of it.
"""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from dexvla_model.data.lerobot.layout import UNFINISHED_FOLDER, read_json, write_json
from dexvla_model.data.lerobot.statistics import statistics_from_json, statistics_to_json
from dexvla_model.errors import UserError

_EPISODE_FILE = "episode.json"
# Arrow's own format: a short episode is written and read in a quarter of the time that Parquet takes.
_DATA_FILE = "data.arrow"
_PART = ".part"


@dataclass(frozen=True)
class EpisodeRecord:
    """What is known of one whole episode.

    Attributes:
        source: where it came from, such as a bag's path; an episode of the same source is not converted
            twice.
        instruction: what the robot was told.
        frames: how many. start_stamp_ns: of the first, on the recorder's clock.
        success: whether the task was carried out, None where nobody said.
        outcome: the operator's word for it, such as `success`, `failure`.
        metadata: anything else (operator, tags), JSON-able.
        statistics: by feature, see `statistics.py`.
        bytes: size of each file by feature, and of the Parquet file by the name `data`.
    """

    source: str
    instruction: str
    frames: int
    start_stamp_ns: int
    success: bool | None
    outcome: str
    metadata: Mapping[str, Any] = field(default_factory=dict)
    statistics: Mapping[str, Mapping[str, np.ndarray]] = field(default_factory=dict)
    bytes: Mapping[str, int] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return vars(self) | {"statistics": statistics_to_json(self.statistics)}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "EpisodeRecord":
        return cls(**{**content, "statistics": statistics_from_json(content["statistics"])})


class EpisodeStage:
    """The folder of staged episodes in a dataset's folder."""

    def __init__(self, dataset: Path):
        self.folder = dataset / UNFINISHED_FOLDER / "episodes"

    def indices(self) -> list[int]:
        """Numbers of the whole episodes, in order."""
        return sorted(int(path.name) for path in self.folder.glob("*") if path.name.isdigit())

    def next_index(self) -> int:
        """A number after all that are taken, by whole or beginning episodes."""
        taken = [int(path.name.removesuffix(_PART)) for path in self.folder.glob("*")]
        return max(taken, default=-1) + 1

    def path(self, index: int) -> Path:
        return self.folder / f"{index:08d}"

    def begin(self, index: int) -> Path:
        """An empty folder to write an episode in."""
        part = self.folder / f"{index:08d}{_PART}"
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        return part

    def commit(self, index: int, record: EpisodeRecord) -> None:
        """The episode is whole."""
        part = self.folder / f"{index:08d}{_PART}"
        write_json(part / _EPISODE_FILE, record.to_json(), indent=None)
        part.rename(self.path(index))

    def discard(self, index: int) -> None:
        """Forget an episode that was begun."""
        shutil.rmtree(self.folder / f"{index:08d}{_PART}", ignore_errors=True)

    def remove_parts(self) -> None:
        """Forget every episode that was begun and not committed: nobody else may be writing."""
        for path in self.folder.glob(f"*{_PART}"):
            shutil.rmtree(path, ignore_errors=True)

    def write_rows(self, index: int, table: pa.Table) -> int:
        """Write the frames of an episode that was begun; returns the file's size in bytes."""
        path = self.folder / f"{index:08d}{_PART}" / _DATA_FILE
        options = pa.ipc.IpcWriteOptions(compression="zstd", use_threads=False)
        with pa.OSFile(str(path), "wb") as file:
            with pa.ipc.new_file(file, table.schema, options=options) as writer:
                writer.write_table(table)
        return path.stat().st_size

    def read_rows(self, index: int) -> pa.Table:
        """The frames of a whole episode.

        Raises:
            UserError: the file is missing or damaged.
        """
        path = self.path(index) / _DATA_FILE
        try:
            with pa.OSFile(str(path), "rb") as file:
                return pa.ipc.open_file(file).read_all()
        except (OSError, pa.ArrowException) as error:
            raise UserError(
                f"{path}: the file cannot be read ({error}); remove its folder and give the command again."
            ) from error

    def remove_rows(self, index: int) -> None:
        """They stand in the dataset's files now."""
        (self.path(index) / _DATA_FILE).unlink(missing_ok=True)

    def record(self, index: int) -> EpisodeRecord:
        return EpisodeRecord.from_json(read_json(self.path(index) / _EPISODE_FILE))

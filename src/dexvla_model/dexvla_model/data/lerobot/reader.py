"""Opening a LeRobot dataset on disk, ours or others': what it holds, its numbers, texts and pictures."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet

from dexvla_model.data.lerobot.language import SubStepMark, marks_of_rows
from dexvla_model.data.lerobot.layout import (
    INFO_FILE,
    LANGUAGE_PERSISTENT,
    ROBOT_FILE,
    STATS_FILE,
    UNFINISHED_FOLDER,
    DatasetInfo,
    read_json,
)
from dexvla_model.data.lerobot.packing import is_being_published
from dexvla_model.data.lerobot.statistics import FeatureStatistics, statistics_from_json
from dexvla_model.data.lerobot.tables import read_episode_rows, read_table, read_tasks
from dexvla_model.errors import UserError
from dexvla_model.robot.description import RobotDescription, parse_robot


@dataclass(frozen=True)
class VideoPlace:
    """The part of an MP4 that shows one episode, from `start_s` to `end_s`."""

    path: Path
    start_s: float
    end_s: float


@dataclass(frozen=True)
class EpisodeEntry:
    """One episode of a dataset.

    Attributes:
        index: its number. length: its frames. first: index of its first frame among all.
        tasks: what the robot was told.
        data_path: the Parquet file with its rows.
        videos: by feature.
        success, outcome, source, start_stamp_ns, metadata: see `EpisodeRecord`; None or empty where LeRobot
            itself, or somebody else, wrote the dataset.
    """

    index: int
    length: int
    first: int
    tasks: tuple[str, ...]
    data_path: Path
    videos: dict[str, VideoPlace]
    success: bool | None = None
    outcome: str = ""
    source: str = ""
    start_stamp_ns: int | None = None
    metadata: str = "{}"
    row: dict[str, Any] = field(default_factory=dict, repr=False)

    @property
    def frames(self) -> slice:
        """Its frames among all."""
        return slice(self.first, self.first + self.length)


class DatasetReader:
    """A LeRobot dataset of version 3.0.

    Attributes:
        folder: where it is. info: `meta/info.json`.
        tasks: texts by task index. episodes: in order.

    Raises:
        UserError: there is no dataset, it is unfinished or damaged, or of another version.
    """

    def __init__(self, folder: Path):
        self.folder = Path(folder)
        self.info = read_info(self.folder)
        self.tasks = read_tasks(self.folder) if self.info.total_episodes else {}
        rows = read_episode_rows(self.folder) if self.info.total_episodes else []
        self.episodes = [self._episode(row) for row in rows]
        if len(self.episodes) != self.info.total_episodes:
            raise UserError(
                f"{self.folder}: meta/info.json says {self.info.total_episodes} episodes, but meta/episodes "
                f"holds "
                f"{len(self.episodes)}; restore the dataset."
            )

    @property
    def fps(self) -> float:
        return self.info.fps

    @property
    def total_frames(self) -> int:
        return sum(episode.length for episode in self.episodes)

    @cached_property
    def robot(self) -> RobotDescription | None:
        """The robot file that the dataset carries; only datasets that this stack wrote have one."""
        path = self.folder / ROBOT_FILE
        return parse_robot(path.read_text(encoding="utf-8"), path) if path.is_file() else None

    def statistics(self) -> dict[str, FeatureStatistics]:
        """`meta/stats.json` by feature; empty where there is none."""
        path = self.folder / STATS_FILE
        return statistics_from_json(read_json(path)) if path.is_file() else {}

    def data_paths(self) -> list[Path]:
        """The Parquet files of frames, in the order of their episodes."""
        return list(dict.fromkeys(episode.data_path for episode in self.episodes))

    def columns(self, names: Sequence[str]) -> dict[str, np.ndarray]:
        """Features of numbers over all frames: (N,) or (N, D, ...) by name.

        Raises:
            UserError: the dataset lacks one, or its files hold another number of frames than they should.
        """
        for name in names:
            if name not in self.info.features:
                known = ", ".join(self.info.vector_keys)
                raise UserError(f"{self.folder}: there is no feature {name!r}; the dataset's are {known}.")
        parts: dict[str, list[np.ndarray]] = {name: [] for name in names}
        for path in self.data_paths():
            table = read_table(path, names)
            for name in names:
                parts[name].append(as_array(table[name], self.info.features[name]))
        joined = {name: np.concatenate(found) if found else np.empty(0) for name, found in parts.items()}
        for name, values in joined.items():
            if len(values) != self.total_frames:
                raise UserError(
                    f"{self.folder}: the Parquet files hold {len(values)} frames, but meta/episodes says "
                    f"{self.total_frames}; restore the dataset or convert again."
                )
        return joined

    def episode_table(self, episode: EpisodeEntry, columns: Sequence[str] | None = None) -> pa.Table:
        """Rows of one episode; only the row groups that hold some are read.

        Raises:
            UserError: the file is missing or damaged, or has other rows than the episode needs.
        """
        table = self._tables_around(episode, columns).get(episode.index)
        rows = 0 if table is None else table.num_rows
        if rows != episode.length:
            raise UserError(
                f"{episode.data_path}: episode {episode.index} has {rows} rows there, but meta/episodes says "
                f"{episode.length}; restore the dataset or convert again."
            )
        return table

    def tables_around(self, episode: EpisodeEntry, columns: Sequence[str]) -> dict[int, pa.Table]:
        """Rows of an episode, and of others that stand whole in the same row groups: those are read anyway.

        Raises:
            UserError: see `episode_table`.
        """
        tables = self._tables_around(episode, columns)
        lengths = self._lengths
        whole = {index: table for index, table in tables.items() if len(table) == lengths.get(index)}
        return whole if episode.index in whole else {episode.index: self.episode_table(episode, columns)}

    @cached_property
    def _lengths(self) -> dict[int, int]:
        return {episode.index: episode.length for episode in self.episodes}

    def _tables_around(self, episode: EpisodeEntry, columns: Sequence[str] | None) -> dict[int, pa.Table]:
        wanted = None if columns is None else list(dict.fromkeys([*columns, "episode_index"]))
        try:
            with parquet.ParquetFile(episode.data_path) as file:
                groups = _row_groups_of(file, episode.index)
                table = file.read_row_groups(groups, columns=wanted)
        except (OSError, pa.ArrowException) as error:
            raise UserError(
                f"{episode.data_path}: the Parquet file cannot be read ({error}); restore it."
            ) from error
        indices = table["episode_index"].to_numpy()
        table = table if columns is None else table.select(list(columns))
        starts = [0, *(np.flatnonzero(np.diff(indices)) + 1).tolist()]
        lengths = np.diff([*starts, len(indices)]).tolist()
        places = zip(starts, lengths)
        return {int(indices[start]): table.slice(start, length) for start, length in places if length}

    def sub_steps(self) -> dict[int, list[SubStepMark]]:
        """Sub-steps by episode; empty lists where the dataset says nothing of them."""
        found: dict[int, list[SubStepMark]] = {episode.index: [] for episode in self.episodes}
        if LANGUAGE_PERSISTENT not in self.info.features:
            return found
        for path in self.data_paths():
            try:
                with parquet.ParquetFile(path) as file:
                    if LANGUAGE_PERSISTENT not in file.schema_arrow.names:
                        continue
                    self._collect_sub_steps(file, found)
            except (OSError, pa.ArrowException) as error:
                raise UserError(f"{path}: the Parquet file cannot be read ({error}); restore it.") from error
        return found

    def _collect_sub_steps(self, file: parquet.ParquetFile, found: dict[int, list[SubStepMark]]) -> None:
        # The list is the same on every frame of an episode, so its first frame tells all.
        for group in range(file.num_row_groups):
            table = file.read_row_group(group, columns=["episode_index", LANGUAGE_PERSISTENT])
            indices = table["episode_index"].to_numpy()
            for index in np.unique(indices):
                if int(index) in found and not found[int(index)]:
                    first = int(np.argmax(indices == index))
                    found[int(index)] = marks_of_rows(table[LANGUAGE_PERSISTENT][first].as_py())

    def _episode(self, row: dict[str, Any]) -> EpisodeEntry:
        try:
            data_path = self.info.data_path.format(
                chunk_index=row["data/chunk_index"],
                file_index=row["data/file_index"],
                episode_chunk=row["data/chunk_index"],
                episode_index=row["episode_index"],
            )
            videos = {}
            for key in self.info.video_keys:
                place = self.info.video_path.format(
                    video_key=key,
                    chunk_index=row[f"videos/{key}/chunk_index"],
                    file_index=row[f"videos/{key}/file_index"],
                )
                start_s, end_s = row[f"videos/{key}/from_timestamp"], row[f"videos/{key}/to_timestamp"]
                videos[key] = VideoPlace(self.folder / place, start_s, end_s)
            return EpisodeEntry(
                index=row["episode_index"],
                length=row["length"],
                first=row["dataset_from_index"],
                tasks=tuple(row["tasks"]),
                data_path=self.folder / data_path,
                videos=videos,
                success=row.get("success"),
                outcome=row.get("outcome") or "",
                source=row.get("source") or "",
                start_stamp_ns=row.get("start_stamp_ns"),
                metadata=row.get("metadata") or "{}",
                row=row,
            )
        except (KeyError, TypeError, IndexError) as error:
            raise UserError(
                f"{self.folder / 'meta/episodes'}: an episode lacks what LeRobot v3.0 needs ({error!r}); "
                f"restore it."
            ) from error


def read_info(folder: Path) -> DatasetInfo:
    """`meta/info.json` of a dataset that may be read.

    Raises:
        UserError: there is no dataset, it is unfinished, or of another version.
    """
    path = folder / INFO_FILE
    unfinished = (folder / UNFINISHED_FOLDER).is_dir()
    if is_being_published(folder) or (unfinished and not path.is_file()):
        raise UserError(
            f"{folder}: this dataset is unfinished; give the command that wrote it again, which goes on "
            f"where it stopped."
        )
    if not path.is_file():
        raise UserError(
            f"{folder} is no LeRobot dataset: there is no {INFO_FILE} in it; name the dataset's folder."
        )
    info = DatasetInfo.from_json(read_json(path), path)
    if not info.codebase_version.startswith("v3."):
        raise UserError(
            f"{path}: codebase_version is {info.codebase_version}, but v3.0 is needed; convert it with "
            f"`dexvla dataset from-lerobot {folder} --out FOLDER`."
        )
    if info.video_keys and info.video_path is None:
        raise UserError(
            f"{path}: video_path is empty, but {info.video_keys[0]} is a video; restore the file."
        )
    return info


def is_lerobot_dataset(folder: Path) -> bool:
    """Whether the folder is, or is going to be, a LeRobot dataset."""
    return (folder / INFO_FILE).is_file() or (folder / UNFINISHED_FOLDER).is_dir()


def as_array(column: pa.ChunkedArray, feature: dict[str, Any]) -> np.ndarray:
    """A column of numbers as (N,) or (N, ...) of the feature's shape and type."""
    values = column.combine_chunks()
    rows = len(values)
    if isinstance(values, pa.ChunkedArray):
        values = pa.concat_arrays(values.chunks)
    if isinstance(values, pa.ExtensionArray):
        values = values.storage
    while (
        pa.types.is_list(values.type)
        or pa.types.is_fixed_size_list(values.type)
        or pa.types.is_large_list(values.type)
    ):
        values = values.flatten()
    flat = values.to_numpy(zero_copy_only=False)
    shape = list(feature["shape"])
    wanted = (rows,) if shape == [1] else (rows, *shape)
    if flat.size != int(np.prod(wanted)):
        raise UserError(
            f"A column holds {flat.size} values in {rows} rows, but its shape is {shape}; restore the "
            f"dataset."
        )
    return flat.astype(feature["dtype"], copy=False).reshape(wanted)


def _row_groups_of(file: parquet.ParquetFile, episode: int) -> list[int]:
    """Row groups whose statistics do not rule the episode out."""
    metadata = file.metadata
    names = [metadata.schema.column(index).path for index in range(metadata.num_columns)]
    column = names.index("episode_index")
    kept = []
    for group in range(metadata.num_row_groups):
        statistics = metadata.row_group(group).column(column).statistics
        if statistics is None or not statistics.has_min_max or statistics.min <= episode <= statistics.max:
            kept.append(group)
    return kept

"""LeRobot datasets of version 2.1: one Parquet file and one MP4 per camera for every episode."""

import json
from functools import cached_property
from pathlib import Path
from typing import Any

from dexvla_model.data.lerobot.layout import INFO_FILE, DatasetInfo, read_json
from dexvla_model.data.lerobot.reader import DatasetReader, EpisodeEntry, VideoPlace
from dexvla_model.errors import UserError


class LegacyReader(DatasetReader):
    """Reads a dataset of version 2.1 (or 2.0) as `DatasetReader` reads one of version 3.

    Raises:
        UserError: a file of `meta/` is missing or damaged.
    """

    def __init__(self, folder: Path):
        self.folder = Path(folder)
        self.info = DatasetInfo.from_json(read_json(self.folder / INFO_FILE), self.folder / INFO_FILE)
        self.tasks = {row["task_index"]: str(row["task"]) for row in self._lines("meta/tasks.jsonl")}
        rows = sorted(self._lines("meta/episodes.jsonl"), key=lambda row: row["episode_index"])
        self.episodes = []
        first = 0
        for row in rows:
            self.episodes.append(self._legacy_episode(row, first))
            first += row["length"]

    @cached_property
    def robot(self) -> None:
        return None

    def _legacy_episode(self, row: dict[str, Any], first: int) -> EpisodeEntry:
        index, length = row["episode_index"], row["length"]
        place = {"episode_chunk": index // self.info.limits.chunk_files, "episode_index": index}
        videos = {
            key: VideoPlace(
                self.folder / self.info.video_path.format(video_key=key, **place), 0.0, length / self.info.fps
            )
            for key in self.info.video_keys
        }
        data_path = self.folder / self.info.data_path.format(**place)
        return EpisodeEntry(index, length, first, tuple(row.get("tasks", ())), data_path, videos, row=row)

    def _lines(self, name: str) -> list[dict[str, Any]]:
        path = self.folder / name
        try:
            return [
                json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()
            ]
        except (OSError, ValueError) as error:
            raise UserError(f"{path}: the file cannot be read ({error}); restore it.") from error


def open_any_version(folder: Path) -> DatasetReader:
    """A reader of a dataset of version 3.0, 2.1 or 2.0.

    Raises:
        UserError: there is no dataset, it is damaged, or of another version.
    """
    path = Path(folder) / INFO_FILE
    if path.is_file():
        content = read_json(path)
        version = str(content.get("codebase_version", "")) if isinstance(content, dict) else ""
        if version.startswith("v2."):
            return LegacyReader(folder)
    return DatasetReader(folder)

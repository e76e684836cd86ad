"""Writing a LeRobot dataset: begin, stream episodes into it, finish; stop at any point and go on later."""

import fcntl
import shutil
from collections.abc import Callable
from pathlib import Path

from dexvla_model.data.lerobot.episode_writer import EpisodeWriter
from dexvla_model.data.lerobot.layout import (
    INFO_FILE,
    ROBOT_FILE,
    UNFINISHED_FOLDER,
    DatasetInfo,
    read_json,
    write_json,
)
from dexvla_model.data.lerobot.packing import has_plan, is_being_published, pack
from dexvla_model.data.lerobot.specification import DatasetSpecification
from dexvla_model.data.lerobot.staging import EpisodeStage
from dexvla_model.data.lerobot.storage import writing_to
from dexvla_model.data.lerobot.tables import read_episode_rows
from dexvla_model.errors import UserError

_SPECIFICATION, _LOCK = "specification.json", "lock"


class DatasetWriter:
    """Writes a dataset into a folder.

    `open` starts a new one, goes on with one that was left unfinished, or appends to a whole one. Episodes
    come in by `begin_episode`; `finish` makes them part of the dataset. Until then a new dataset has no
    `meta/info.json`, and an old one is as it was. Whatever ends the process, the episodes that were ended are
    still there at the next `open`.

    Episodes may be written by several processes at once: one has the writer, the others `join` it and give
    each episode an index of their own, which is the order of the episodes in the dataset.
    """

    def __init__(self, folder: Path, specification: DatasetSpecification, lock: object = None):
        self.folder = folder
        self.specification = specification
        self._stage = EpisodeStage(folder)
        self._lock = lock

    @classmethod
    def open(cls, folder: Path, specification: DatasetSpecification) -> "DatasetWriter":
        """The one writer of a folder.

        Raises:
            UserError: the folder holds something else or a dataset of another kind, another process is
                writing there, or the disk is full.
        """
        with writing_to(folder):
            whole = (folder / INFO_FILE).is_file()
            unfinished = folder / UNFINISHED_FOLDER
            if folder.exists() and not folder.is_dir():
                raise UserError(f"{folder} is a file; name a folder.")
            if folder.exists() and any(folder.iterdir()) and not whole and not unfinished.is_dir():
                raise UserError(f"{folder} exists and is no LeRobot dataset; name an empty or new folder.")
            unfinished.mkdir(parents=True, exist_ok=True)
            lock = _lock(folder)
            writer = cls(folder, specification, lock)
            writer._continue()
            EpisodeStage(folder).remove_parts()
            write_json(folder / UNFINISHED_FOLDER / _SPECIFICATION, specification.to_json())
            return writer

    @classmethod
    def join(cls, folder: Path) -> "DatasetWriter":
        """For a further process: writes episodes into a folder that a writer of another process has open.

        Raises:
            UserError: nobody has.
        """
        content = read_json(folder / UNFINISHED_FOLDER / _SPECIFICATION)
        return cls(folder, DatasetSpecification.from_json(content))

    def _continue(self) -> None:
        """Bring to its end what an earlier writer left, and check that this one fits it."""
        unfinished = self.folder / UNFINISHED_FOLDER
        kept = unfinished / _SPECIFICATION
        if kept.is_file():
            left = DatasetSpecification.from_json(read_json(kept))
            info = left.info()
            self.specification.check_continues(info.features, left.fps, left.robot_file, self.folder)
            if has_plan(self.folder) or is_being_published(self.folder):
                pack(self.folder, left)
                unfinished.mkdir()
                self._lock = _lock(self.folder)
        if (self.folder / INFO_FILE).is_file():
            info = DatasetInfo.from_json(read_json(self.folder / INFO_FILE), self.folder / INFO_FILE)
            robot_file = self.folder / ROBOT_FILE
            text = robot_file.read_text(encoding="utf-8") if robot_file.is_file() else ""
            self.specification.check_continues(info.features, info.fps, text, self.folder)

    def sources(self) -> set[str]:
        """Where the episodes that are there already came from: nobody needs to write them again."""
        staged = {self._stage.record(index).source for index in self._stage.indices()}
        if not (self.folder / INFO_FILE).is_file():
            return staged
        info = DatasetInfo.from_json(read_json(self.folder / INFO_FILE), self.folder / INFO_FILE)
        rows = read_episode_rows(self.folder) if info.total_episodes else []
        return staged | {row["source"] for row in rows if row.get("source")}

    def staged_episodes(self) -> int:
        """Episodes that wait for `finish`."""
        return len(self._stage.indices())

    def next_index(self) -> int:
        """Index after all staged episodes'."""
        return self._stage.next_index()

    def begin_episode(
        self, instruction: str, source: str = "", index: int | None = None, threads: bool = True
    ) -> EpisodeWriter:
        """Start an episode.

        Args:
            instruction: what the robot was told.
            source: where the episode comes from, see `sources`.
            index: its place among the episodes that are being written; the next one if None.
            threads: encode each camera in a thread of its own.

        Raises:
            InvalidFrame: there is no instruction.
            UserError: the disk is full.
        """
        index = self._stage.next_index() if index is None else index
        return EpisodeWriter(self._stage, index, self.specification, instruction, source, threads)

    def finish(self, progress: Callable[[int, int], None] = lambda done, total: None) -> DatasetInfo:
        """Make all ended episodes part of the dataset and let go of the folder.

        Args:
            progress: called with the number of files made and their total.

        Raises:
            UserError: the disk is full; the same call, or the next `open`, goes on.
        """
        with writing_to(self.folder):
            self._stage.remove_parts()
            info = pack(self.folder, self.specification, progress)
        self.close()
        return info

    def close(self) -> None:
        """Let go of the folder without finishing; what was ended stays for the next `open`."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def discard(self) -> None:
        """Forget everything since `open`: staged episodes go, a whole dataset stays as it was."""
        shutil.rmtree(self.folder / UNFINISHED_FOLDER, ignore_errors=True)
        self.close()


def _lock(folder: Path) -> object:
    lock = (folder / UNFINISHED_FOLDER / _LOCK).open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        lock.close()
        raise UserError(
            f"{folder}: another process is writing there; wait for it or name another folder."
        ) from error
    return lock

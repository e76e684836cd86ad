"""Looking for everything that is wrong with a dataset."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from dexvla_model.data.lerobot.decoding import VideoDecoder
from dexvla_model.data.lerobot.features import arrow_schema
from dexvla_model.data.lerobot.language import marks_of_rows
from dexvla_model.data.lerobot.layout import (
    ACTION,
    DEFAULT_FEATURES,
    IMAGE_PREFIX,
    LANGUAGE_PERSISTENT,
    STAMP,
    STATE,
    STATS_FILE,
    UNFINISHED_FOLDER,
)
from dexvla_model.data.lerobot.pictures import Pictures
from dexvla_model.data.lerobot.reader import DatasetReader, EpisodeEntry, as_array
from dexvla_model.data.lerobot.video import VideoFacts, read_video_facts
from dexvla_model.errors import UserError

# LeRobot looks frames up by time with this tolerance.
_TOLERANCE_S = 1e-4


@dataclass(frozen=True)
class Problem:
    """Something that is wrong: where, and what."""

    where: str
    what: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}"


def find_problems(
    folder: Path, every_frame: bool = False, progress: Callable[[int, int], None] = lambda done, total: None
) -> list[Problem]:
    """Check counts, files, columns, values, stamps, texts, and the first and last frame of every video of
    every episode.

    Args:
        every_frame: decode every frame instead of two per episode and camera.
        progress: called with the number of episodes checked and their total.
    """
    try:
        reader = DatasetReader(folder)
    except UserError as error:
        return [Problem(str(folder), str(error))]
    problems = [*_of_counts(reader), *_of_leftovers(reader), *_of_statistics(reader), *_of_robot(reader)]
    videos = _Videos()
    pictures = Pictures(reader)
    for done, episode in enumerate(reader.episodes):
        problems += _of_rows(reader, episode)
        for key in reader.info.camera_keys:
            if key in episode.videos:
                problems += _of_video(reader, episode, key, videos, every_frame)
            else:
                problems += _of_images(reader, episode, key, pictures, every_frame)
        progress(done + 1, len(reader.episodes))
    return list(dict.fromkeys(problems))


def _of_counts(reader: DatasetReader) -> Iterator[Problem]:
    info, where = reader.info, "meta/info.json"
    if info.total_frames != reader.total_frames:
        yield Problem(
            where, f"total_frames is {info.total_frames}, but the episodes have {reader.total_frames}"
        )
    if info.total_tasks != len(reader.tasks):
        yield Problem(
            where, f"total_tasks is {info.total_tasks}, but meta/tasks.parquet has {len(reader.tasks)}"
        )
    for name in DEFAULT_FEATURES:
        if name not in info.features:
            yield Problem(where, f"the feature {name} is missing")
    first = 0
    for number, episode in enumerate(reader.episodes):
        where = f"meta/episodes, episode {episode.index}"
        if episode.index != number:
            yield Problem(where, f"stands where episode {number} should")
        if (
            episode.first != first
            or episode.row.get("dataset_to_index", first + episode.length) != first + episode.length
        ):
            yield Problem(where, f"begins at frame {episode.first}, but the ones before it end at {first}")
        if episode.length < 1:
            yield Problem(where, "has no frame")
        unknown = [task for task in episode.tasks if task not in reader.tasks.values()]
        if unknown:
            yield Problem(where, f"the task {unknown[0]!r} is not in meta/tasks.parquet")
        first += episode.length


def _of_leftovers(reader: DatasetReader) -> Iterator[Problem]:
    if (reader.folder / UNFINISHED_FOLDER).is_dir():
        yield Problem(UNFINISHED_FOLDER, "an unfinished writing; give the command that wrote here again")
    used = {episode.data_path for episode in reader.episodes}
    used |= {place.path for episode in reader.episodes for place in episode.videos.values()}
    for pattern in ("data/**/*.parquet", "videos/**/*.mp4"):
        for path in sorted(reader.folder.glob(pattern)):
            if path not in used:
                yield Problem(
                    str(path.relative_to(reader.folder)),
                    "no episode refers to this file, yet LeRobot reads it",
                )


def _of_statistics(reader: DatasetReader) -> Iterator[Problem]:
    try:
        statistics = reader.statistics()
    except UserError as error:
        yield Problem(STATS_FILE, str(error))
        return
    if not statistics and reader.episodes:
        yield Problem(STATS_FILE, "is missing; make it with `dexvla dataset stats --recompute`")
        return
    for name in (STATE, ACTION):
        if name in reader.info.features and name not in statistics:
            yield Problem(STATS_FILE, f"has nothing of {name}")
    for name, values in statistics.items():
        for kind, value in values.items():
            if value.dtype.kind in "fiu" and not np.isfinite(value.astype(float)).all():
                yield Problem(STATS_FILE, f"{kind} of {name} is not finite")


def _of_robot(reader: DatasetReader) -> Iterator[Problem]:
    try:
        robot = reader.robot
    except UserError as error:
        yield Problem("meta/robot.yaml", str(error))
        return
    if robot is None:
        return
    for key, joints in ((STATE, robot.state_joints), (ACTION, robot.action_joints)):
        names = (reader.info.features.get(key) or {}).get("names")
        if list(names or ()) != list(joints):
            yield Problem("meta/info.json", f"{key} is {names}, but the robot file says {list(joints)}")
    for camera in robot.cameras:
        if IMAGE_PREFIX + camera.role not in reader.info.camera_keys:
            yield Problem("meta/info.json", f"there is no image of the robot's camera {camera.role}")


def _of_rows(reader: DatasetReader, episode: EpisodeEntry) -> Iterator[Problem]:
    where = f"{episode.data_path.relative_to(reader.folder)}, episode {episode.index}"
    try:
        table = reader.episode_table(episode)
    except UserError as error:
        yield Problem(where, str(error))
        return
    numbers = {}
    for field in arrow_schema(reader.info.features):
        if field.name not in table.column_names:
            yield Problem(where, f"the column {field.name} is missing")
        elif field.name in reader.info.vector_keys:
            try:
                numbers[field.name] = as_array(table[field.name], reader.info.features[field.name])
            except (UserError, ValueError) as error:
                yield Problem(where, f"{field.name}: {error}")
    steps = np.arange(episode.length)
    expected = {"frame_index": steps, "index": steps + episode.first}
    for name, values in expected.items():
        if name in numbers and not np.array_equal(numbers[name], values):
            yield Problem(where, f"{name} does not count up from {values[0]}")
    if "timestamp" in numbers:
        off_s = np.abs(numbers["timestamp"].astype(np.float64) - steps / reader.fps)
        # float32 knows a time of some minutes no better than that.
        if (off_s > _TOLERANCE_S + steps / reader.fps * 2**-23).any():
            worst = int(np.argmax(off_s))
            yield Problem(
                where,
                f"the timestamp of frame {worst} is {off_s[worst] * 1e3:.2f} ms off the rate of "
                f"{reader.fps:g} Hz",
            )
    if STAMP in numbers and (np.diff(numbers[STAMP]) <= 0).any():
        yield Problem(
            where, f"{STAMP} goes backwards after frame {int(np.argmax(np.diff(numbers[STAMP]) <= 0))}"
        )
    if "task_index" in numbers and not set(np.unique(numbers["task_index"]).tolist()) <= set(reader.tasks):
        yield Problem(where, "task_index names a task that is not in meta/tasks.parquet")
    for name, values in numbers.items():
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            bad = int(np.argmin(np.isfinite(values).reshape(len(values), -1).all(axis=1)))
            yield Problem(where, f"{name} of frame {bad} is not finite")
    if LANGUAGE_PERSISTENT in table.column_names and table.num_rows:
        yield from _of_texts(reader, episode, table[LANGUAGE_PERSISTENT], where)


def _of_texts(
    reader: DatasetReader, episode: EpisodeEntry, column: pa.ChunkedArray, where: str
) -> Iterator[Problem]:
    for mark in marks_of_rows(column[0].as_py()):
        if not 0 <= mark.start_s < episode.length / reader.fps:
            yield Problem(
                where, f"the sub-step {mark.text!r} begins at {mark.start_s:g} s, outside of the episode"
            )
    if column[0].as_py() != column[len(column) - 1].as_py():
        yield Problem(where, f"{LANGUAGE_PERSISTENT} differs within the episode")


class _Videos:
    """Headers and decoders of the videos, each opened once; what cannot be opened is said once."""

    def __init__(self) -> None:
        self._opened: dict[Path, tuple[VideoFacts, VideoDecoder] | None] = {}

    def open(self, path: Path) -> tuple[VideoFacts, VideoDecoder] | None:
        """None if it could not be opened before.

        Raises:
            UserError: it cannot be opened, the first time.
        """
        if path not in self._opened:
            self._opened[path] = None
            self._opened[path] = (read_video_facts(path), VideoDecoder(path))
        return self._opened[path]


def _of_video(
    reader: DatasetReader, episode: EpisodeEntry, key: str, videos: _Videos, every_frame: bool
) -> Iterator[Problem]:
    place = episode.videos[key]
    where = str(place.path.relative_to(reader.folder))
    if not place.path.is_file():
        yield Problem(where, "the video is missing")
        return
    try:
        opened = videos.open(place.path)
    except UserError as error:
        yield Problem(where, str(error))
        return
    if opened is None:
        return
    facts, decoder = opened
    height, width, _ = reader.info.features[key]["shape"]
    if (facts.width, facts.height) != (width, height):
        yield Problem(
            where,
            f"the pictures are {facts.width} x {facts.height}, but meta/info.json says {width} x {height}",
        )
    if abs(facts.fps - reader.fps) > 0.01 * reader.fps:
        yield Problem(where, f"the video has {facts.fps:g} frames per s, but the dataset {reader.fps:g}")
    shown = place.end_s - place.start_s
    if abs(shown - episode.length / reader.fps) > 0.5 / reader.fps:
        yield Problem(where, f"episode {episode.index} has {episode.length} frames, but {shown:g} s of video")
    if place.end_s > facts.duration_s + 0.5 / reader.fps:
        yield Problem(
            where,
            f"episode {episode.index} ends at {place.end_s:g} s, but the video at {facts.duration_s:g} s",
        )
        return
    frames = range(episode.length) if every_frame else sorted({0, episode.length - 1})
    try:
        for frame in frames:
            decoder.frames_at([place.start_s + frame / reader.fps])
    except UserError as error:
        yield Problem(where, f"episode {episode.index}, frame {frame}: {error}")


def _of_images(
    reader: DatasetReader, episode: EpisodeEntry, key: str, pictures: Pictures, every_frame: bool
) -> Iterator[Problem]:
    where = f"{episode.data_path.relative_to(reader.folder)}, episode {episode.index}"
    frames = range(episode.length) if every_frame else sorted({0, episode.length - 1})
    height, width, _ = reader.info.features[key]["shape"]
    try:
        for image in pictures.get(key, [episode.first + frame for frame in frames]):
            if image.shape[:2] != (height, width):
                yield Problem(
                    where,
                    f"{key} is {image.shape[1]} x {image.shape[0]}, but meta/info.json says {width} x "
                    f"{height}",
                )
                return
    except UserError as error:
        yield Problem(where, str(error))

"""From staged episodes to the dataset's large files, in steps that can be taken again after an interruption.

1. A plan says which episode goes into which file; it is written down first.
2. Each file is made beside the dataset, under `.unfinished/packed`; the staged originals go when it is whole.
3. The files of `meta/` are made there too, `info.json` the last.
4. Everything is renamed into place, `info.json` the last; then `.unfinished` goes.

So the dataset is either as it was, or as it is to be, or has no `meta/info.json`, by which everybody knows a
dataset.
"""

import json
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet

from dexvla_model.data.lerobot.features import arrow_schema
from dexvla_model.data.lerobot.layout import (
    INFO_FILE,
    ROBOT_FILE,
    STATS_FILE,
    TASKS_FILE,
    UNFINISHED_FOLDER,
    DatasetInfo,
    EPISODES_PATH,
    read_json,
    write_json,
)
from dexvla_model.data.lerobot.specification import DatasetSpecification
from dexvla_model.data.lerobot.staging import EpisodeRecord, EpisodeStage
from dexvla_model.data.lerobot.statistics import aggregate, statistics_to_json, vector_statistics
from dexvla_model.data.lerobot.tables import (
    read_episode_rows,
    read_episode_statistics,
    read_tasks,
    write_episode_rows,
    write_tasks,
)
from dexvla_model.data.lerobot.video import join_videos, video_information

_PACKED, _PLAN, _READY = "packed", "plan.json", "ready"
_MB = 2**20
# Frames that a row group has at least, but for the last one of a file.
_GROUP_FRAMES = 100
# The name under which a plan and a record hold the Parquet file, beside the cameras'.
DATA = "data"


@dataclass(frozen=True)
class _Before:
    """What the dataset held before: rows of episodes, tasks in order."""

    info: DatasetInfo | None
    rows: list[dict[str, Any]]
    tasks: list[str]

    @property
    def frames(self) -> int:
        return self.rows[-1]["dataset_to_index"] if self.rows else 0


def has_plan(dataset: Path) -> bool:
    """Whether packing was begun, so that it has to be brought to its end before anything else."""
    return (dataset / UNFINISHED_FOLDER / _PLAN).is_file()


def is_being_published(dataset: Path) -> bool:
    """Whether files are being renamed into place: the dataset must not be read."""
    return (dataset / UNFINISHED_FOLDER / _READY).exists()


def pack(
    dataset: Path,
    specification: DatasetSpecification,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> DatasetInfo:
    """Make the staged episodes part of the dataset; goes on with a packing that was interrupted.

    Args:
        progress: called with the number of files made and their total.

    Raises:
        UserError: a staged file is damaged.
    """
    unfinished = dataset / UNFINISHED_FOLDER
    if not is_being_published(dataset):
        stage = EpisodeStage(dataset)
        before = _before(dataset, specification)
        if not has_plan(dataset):
            write_json(unfinished / _PLAN, _plan(stage, specification, before))
        plan = read_json(unfinished / _PLAN)
        records = {index: stage.record(index) for index in plan["episodes"]}
        _make_files(unfinished / _PACKED, stage, specification, plan, records, before, progress)
        _make_meta(dataset, unfinished / _PACKED, specification, plan, records, before)
        (unfinished / _READY).touch()
    _publish(dataset)
    return DatasetInfo.from_json(read_json(dataset / INFO_FILE), dataset / INFO_FILE)


def _before(dataset: Path, specification: DatasetSpecification) -> _Before:
    if not (dataset / INFO_FILE).is_file():
        return _Before(None, [], [])
    info = DatasetInfo.from_json(read_json(dataset / INFO_FILE), dataset / INFO_FILE)
    if not info.total_episodes:
        return _Before(info, [], [])
    tasks = read_tasks(dataset)
    return _Before(info, read_episode_rows(dataset), [tasks[index] for index in sorted(tasks)])


def _plan(stage: EpisodeStage, specification: DatasetSpecification, before: _Before) -> dict[str, Any]:
    """Which episodes, and for the Parquet files (`data`) and each camera the (chunk, file, episodes) in
    order."""
    episodes = stage.indices()
    records = [stage.record(index) for index in episodes]
    info, limits = specification.info(), specification.limits
    plan: dict[str, Any] = {"episodes": episodes, "files": {}}
    for key in (DATA, *info.video_keys):
        prefix = DATA if key == DATA else f"videos/{key}"
        place = (0, 0)
        if before.rows:
            last = max((row[f"{prefix}/chunk_index"], row[f"{prefix}/file_index"]) for row in before.rows)
            place = limits.next_file(*last)
        limit = (limits.data_mb if key == DATA else limits.video_mb) * _MB
        files: list[dict[str, Any]] = []
        size = 0
        for index, record in zip(episodes, records):
            if files and size + record.bytes[key] < limit:
                files[-1]["episodes"].append(index)
                size += record.bytes[key]
                continue
            place = limits.next_file(*place) if files else place
            files.append({"chunk": place[0], "file": place[1], "episodes": [index]})
            size = record.bytes[key]
        plan["files"][key] = files
    return plan


def _make_files(
    packed: Path,
    stage: EpisodeStage,
    specification: DatasetSpecification,
    plan: Mapping[str, Any],
    records: Mapping[int, EpisodeRecord],
    before: _Before,
    progress: Callable[[int, int], None],
) -> None:
    info = specification.info()
    tasks = _tasks(plan, records, before)
    starts = _frame_starts(plan, records, before)
    numbers = {index: number for number, index in enumerate(plan["episodes"])}
    jobs = [(key, file) for key, files in plan["files"].items() for file in files]
    for done, (key, file) in enumerate(jobs):
        progress(done, len(jobs))
        template = info.data_path if key == DATA else info.video_path
        place = template.format(video_key=key, chunk_index=file["chunk"], file_index=file["file"])
        out, episodes = packed / place, file["episodes"]
        if not out.exists():
            out.parent.mkdir(parents=True, exist_ok=True)
            temporary = out.with_name(f"{out.stem}.tmp{out.suffix}")
            if key == DATA:
                with parquet.ParquetWriter(
                    temporary, arrow_schema(info.features), compression="zstd"
                ) as writer:
                    waiting = []
                    for index in episodes:
                        task = tasks.index(records[index].instruction)
                        number = len(before.rows) + numbers[index]
                        waiting.append(_placed(stage.read_rows(index), info, number, starts[index], task))
                        # Short episodes share a row group: each group costs a reader time and room in the
                        # footer.
                        if sum(map(len, waiting)) >= _GROUP_FRAMES or index == episodes[-1]:
                            writer.write_table(pa.concat_tables(waiting))
                            waiting = []
            else:
                parts = [stage.path(index) / f"{key}.mp4" for index in episodes]
                join_videos(parts, [records[index].frames for index in episodes], info.fps, temporary)
            os.replace(temporary, out)
        for index in episodes:
            if key == DATA:
                stage.remove_rows(index)
            else:
                (stage.path(index) / f"{key}.mp4").unlink(missing_ok=True)
    progress(len(jobs), len(jobs))


def _placed(table: pa.Table, info: DatasetInfo, episode: int, first_index: int, task: int) -> pa.Table:
    """The episode's table with the columns that its place decides, in the order of the features."""
    frames = table.num_rows
    columns = {name: table[name] for name in table.column_names} | {
        "episode_index": pa.array(np.full(frames, episode, dtype=np.int64)),
        "index": pa.array(np.arange(first_index, first_index + frames, dtype=np.int64)),
        "task_index": pa.array(np.full(frames, task, dtype=np.int64)),
    }
    schema = arrow_schema(info.features)
    return pa.Table.from_arrays([columns[name] for name in schema.names], schema=schema)


def _tasks(plan: Mapping[str, Any], records: Mapping[int, EpisodeRecord], before: _Before) -> list[str]:
    tasks = list(before.tasks)
    for index in plan["episodes"]:
        if records[index].instruction not in tasks:
            tasks.append(records[index].instruction)
    return tasks


def _frame_starts(
    plan: Mapping[str, Any], records: Mapping[int, EpisodeRecord], before: _Before
) -> dict[int, int]:
    starts, frames = {}, before.frames
    for index in plan["episodes"]:
        starts[index] = frames
        frames += records[index].frames
    return starts


def _make_meta(
    dataset: Path,
    packed: Path,
    specification: DatasetSpecification,
    plan: Mapping[str, Any],
    records: Mapping[int, EpisodeRecord],
    before: _Before,
) -> None:
    info, tasks = specification.info(), _tasks(plan, records, before)
    starts = _frame_starts(plan, records, before)
    places = _places(plan, records, info.fps)
    meta_place = (0, 0)
    if before.rows:
        last = max((row["meta/episodes/chunk_index"], row["meta/episodes/file_index"]) for row in before.rows)
        meta_place = specification.limits.next_file(*last)
    rows, statistics = [], []
    for order, index in enumerate(plan["episodes"]):
        record, number = records[index], len(before.rows) + order
        rows.append(
            {
                "episode_index": number,
                "tasks": [record.instruction],
                "length": record.frames,
                "dataset_from_index": starts[index],
                "dataset_to_index": starts[index] + record.frames,
                **places[index],
                "meta/episodes/chunk_index": meta_place[0],
                "meta/episodes/file_index": meta_place[1],
                "success": record.success,
                "outcome": record.outcome,
                "source": record.source,
                "start_stamp_ns": record.start_stamp_ns,
                "metadata": json.dumps(dict(record.metadata), ensure_ascii=False),
            }
        )
        statistics.append(
            dict(record.statistics)
            | {
                "episode_index": vector_statistics(np.full(record.frames, number)),
                "index": vector_statistics(np.arange(starts[index], starts[index] + record.frames)),
                "task_index": vector_statistics(np.full(record.frames, tasks.index(record.instruction))),
            }
        )
    if rows:
        place = EPISODES_PATH.format(chunk_index=meta_place[0], file_index=meta_place[1])
        write_episode_rows(packed / place, rows, statistics)
        write_tasks(packed / TASKS_FILE, tasks)
        known = list(read_episode_statistics(dataset).values()) if before.rows else []
        parts = [*known, *statistics]
        features = [name for name in statistics[0] if all(name in part for part in parts)]
        whole = {name: aggregate([part[name] for part in parts]) for name in features}
        write_json(packed / STATS_FILE, statistics_to_json(whole))
    if specification.robot_file:
        (packed / ROBOT_FILE).parent.mkdir(parents=True, exist_ok=True)
        (packed / ROBOT_FILE).write_text(specification.robot_file, encoding="utf-8")
    features = {name: dict(feature) for name, feature in (before.info or info).features.items()}
    for key in info.video_keys:
        if "info" not in features[key] and rows:
            first = plan["files"][key][0]
            place = info.video_path.format(
                video_key=key, chunk_index=first["chunk"], file_index=first["file"]
            )
            features[key]["info"] = video_information(packed / place, specification.video)
    frames = before.frames + sum(record.frames for record in records.values())
    counted = DatasetInfo(
        info.fps, features, info.robot_type, video_path=info.video_path, limits=info.limits
    ).counted(len(before.rows) + len(rows), frames, len(tasks))
    write_json(packed / INFO_FILE, counted.to_json())


def _places(
    plan: Mapping[str, Any], records: Mapping[int, EpisodeRecord], fps: float
) -> dict[int, dict[str, Any]]:
    """File of each episode's rows and videos, and where in the videos it stands, as `meta/episodes` names
    it."""
    places: dict[int, dict[str, Any]] = {index: {} for index in plan["episodes"]}
    for key, files in plan["files"].items():
        prefix = DATA if key == DATA else f"videos/{key}"
        for file in files:
            frames = 0
            for index in file["episodes"]:
                place = {f"{prefix}/chunk_index": file["chunk"], f"{prefix}/file_index": file["file"]}
                if key != DATA:
                    end = frames + records[index].frames
                    place |= {f"{prefix}/from_timestamp": frames / fps, f"{prefix}/to_timestamp": end / fps}
                    frames = end
                places[index] |= place
    return places


def _publish(dataset: Path) -> None:
    """Rename what is packed into place; can be taken up again at any point."""
    unfinished = dataset / UNFINISHED_FOLDER
    packed = unfinished / _PACKED
    if (packed / INFO_FILE).exists():
        if (dataset / INFO_FILE).exists():
            os.replace(dataset / INFO_FILE, unfinished / "info_before.json")
        for path in sorted(packed.rglob("*")):
            if path.is_file() and path != packed / INFO_FILE:
                target = dataset / path.relative_to(packed)
                target.parent.mkdir(parents=True, exist_ok=True)
                os.replace(path, target)
        os.replace(packed / INFO_FILE, dataset / INFO_FILE)
    obsolete = dataset / f"{UNFINISHED_FOLDER}.obsolete"
    shutil.rmtree(obsolete, ignore_errors=True)
    unfinished.rename(obsolete)
    shutil.rmtree(obsolete, ignore_errors=True)

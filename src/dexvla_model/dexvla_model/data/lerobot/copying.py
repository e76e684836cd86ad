"""Episodes from one dataset into another without encoding anything again."""

import json
from pathlib import Path
from typing import Any

import av
import pyarrow as pa

from dexvla_model.data.lerobot.episode_writer import PLACED
from dexvla_model.data.lerobot.features import arrow_schema, complete_features
from dexvla_model.data.lerobot.layout import (
    DEFAULT_FEATURES,
    LANGUAGE_EVENTS,
    LANGUAGE_PERSISTENT,
    ROBOT_FILE,
)
from dexvla_model.data.lerobot.reader import DatasetReader, EpisodeEntry, VideoPlace, as_array
from dexvla_model.data.lerobot.specification import DatasetSpecification
from dexvla_model.data.lerobot.staging import EpisodeRecord, EpisodeStage
from dexvla_model.data.lerobot.statistics import FeatureStatistics, vector_statistics
from dexvla_model.data.lerobot.video import join_videos
from dexvla_model.errors import UserError

_LANGUAGE = (LANGUAGE_PERSISTENT, LANGUAGE_EVENTS)


def specification_of(reader: DatasetReader) -> DatasetSpecification:
    """What a dataset has to be to take the episodes of this one."""
    own = {
        name: feature
        for name, feature in reader.info.features.items()
        if name not in (*DEFAULT_FEATURES, *_LANGUAGE)
    }
    path = reader.folder / ROBOT_FILE
    robot_file = path.read_text(encoding="utf-8") if path.is_file() else ""
    return DatasetSpecification(
        reader.fps, own, reader.info.robot_type or "", robot_file, limits=reader.info.limits
    )


def copy_episode(
    reader: DatasetReader,
    episode: EpisodeEntry,
    statistics: dict[str, FeatureStatistics],
    stage: EpisodeStage,
    index: int,
    source: str,
) -> None:
    """Stage one episode of a dataset in another.

    Args:
        statistics: of that episode, as far as its dataset has them.
        index: among the staged ones.
        source: by which it is known there.

    Raises:
        UserError: a file is missing or damaged, or its video cannot be cut without encoding it again.
    """
    part = stage.begin(index)
    features = complete_features(specification_of(reader).features)
    table = reader.episode_table(episode)
    columns, fields = [], []
    for field in arrow_schema(features):
        if field.name in PLACED:
            continue
        columns.append(_column(table, field, episode.length))
        fields.append(field)
    copied = pa.Table.from_arrays(columns, schema=pa.schema(fields))
    sizes = {"data": stage.write_rows(index, copied)}
    for key, place in episode.videos.items():
        cut_video(place, episode.length, reader.fps, part / f"{key}.mp4")
        sizes[key] = (part / f"{key}.mp4").stat().st_size
    numbers = [name for name in reader.info.measured_keys if name in copied.column_names]
    measured = {
        name: vector_statistics(as_array(copied[name], reader.info.features[name]))
        for name in numbers
        if episode.length
    }
    kept = {name: values for name, values in statistics.items() if name in features and name not in PLACED}
    record = EpisodeRecord(
        source=source,
        instruction=episode.tasks[0] if episode.tasks else "",
        frames=episode.length,
        start_stamp_ns=episode.start_stamp_ns or 0,
        success=episode.success,
        outcome=episode.outcome,
        metadata=json.loads(episode.metadata),
        statistics=kept | measured,
        bytes=sizes,
    )
    stage.commit(index, record)


def cut_video(place: VideoPlace, frames: int, fps: float, out: Path) -> None:
    """Copy the packets of one episode out of a video of many.

    Raises:
        UserError: the video is damaged, ends before, or the episode does not begin with a key frame.
    """
    temporary = out.with_name(f"{out.stem}.cut{out.suffix}")
    try:
        with av.open(str(place.path)) as container, av.open(str(temporary), "w") as cut:
            source = container.streams.video[0]
            stream = cut.add_stream_from_template(source, opaque=True)
            stream.time_base = source.time_base
            half_s = 0.5 / fps
            container.seek(
                round((place.start_s + half_s / 2) / source.time_base), stream=source, backward=True
            )
            count = 0
            for packet in container.demux(source):
                if packet.size == 0 or float(packet.pts * packet.time_base) < place.start_s - half_s:
                    continue
                if count == 0 and not packet.is_keyframe:
                    raise UserError(
                        f"{place.path}: the episode at {place.start_s:.3f} s does not begin with a key "
                        f"frame, so it cannot "
                        "be copied; encode the dataset again with `dexvla dataset from-lerobot`."
                    )
                packet.stream = stream
                cut.mux(packet)
                count += 1
                if count == frames:
                    break
    except (av.error.FFmpegError, IndexError) as error:
        temporary.unlink(missing_ok=True)
        raise UserError(
            f"{place.path}: the video cannot be read ({error}); restore it or convert again."
        ) from error
    if count != frames:
        temporary.unlink(missing_ok=True)
        raise UserError(
            f"{place.path}: the video ends after {count} of the {frames} frames from {place.start_s:.3f} s "
            f"on."
        )
    # A second pass lets the copy begin at 0.
    join_videos([temporary], [frames], fps, out)
    temporary.unlink()


def _column(table: pa.Table, field: pa.Field, rows: int) -> pa.Array:
    if field.name not in table.column_names:
        if field.name in _LANGUAGE:
            return pa.array([[]] * rows, type=field.type)
        raise UserError(
            f"The dataset's Parquet files have no column {field.name}, though meta/info.json names it."
        )
    column = table[field.name].combine_chunks()
    if isinstance(column, pa.ChunkedArray):
        column = pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)
    if column.type == field.type:
        return column
    values: list[Any] = column.to_pylist()
    if field.name in _LANGUAGE:
        values = [[_language_row(row) for row in cell or ()] for cell in values]
    return pa.array(values, type=field.type)


def _language_row(row: dict[str, Any]) -> dict[str, Any]:
    """Tool calls as JSON texts, however the dataset holds them."""
    calls = row.get("tool_calls")
    texts = None if calls is None else [call if isinstance(call, str) else json.dumps(call) for call in calls]
    return {**row, "tool_calls": texts}

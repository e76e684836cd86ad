"""Sub-steps of a dataset as a table (CSV: episode, start, end, text; times in s), out of it and back into
it."""

import csv
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as parquet

from dexvla_model.data.lerobot.language import (
    EVENTS_TYPE,
    LANGUAGE_FEATURE,
    PERSISTENT_TYPE,
    SUBTASK_STYLE,
    SubStepMark,
    persistent_rows,
)
from dexvla_model.data.lerobot.layout import (
    INFO_FILE,
    LANGUAGE_EVENTS,
    LANGUAGE_PERSISTENT,
    read_json,
    write_json,
)
from dexvla_model.data.lerobot.reader import DatasetReader, EpisodeEntry
from dexvla_model.data.lerobot.storage import writing_to
from dexvla_model.data.lerobot.tables import read_table
from dexvla_model.errors import UserError

COLUMNS = ("episode", "start", "end", "text")


@dataclass(frozen=True)
class Annotation:
    """One line of the table: from `start_s` to `end_s` of the episode the robot does what `text` says."""

    episode: int
    start_s: float
    end_s: float
    text: str
    line: int


def export_annotations(reader: DatasetReader, path: Path) -> int:
    """Write the sub-steps of all episodes as a table; returns the number of lines."""
    lines = []
    for index, marks in reader.sub_steps().items():
        length_s = reader.episodes[index].length / reader.fps
        ends = [mark.start_s for mark in marks[1:]] + [length_s]
        lines += [(index, f"{m.start_s:.4f}", f"{end:.4f}", m.text) for m, end in zip(marks, ends) if m.text]
    with writing_to(path.parent), path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(COLUMNS)
        writer.writerows(lines)
    return len(lines)


def read_annotations(path: Path) -> list[Annotation]:
    """Read a table.

    Raises:
        UserError: the file or one of its lines is malformed.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream, skipinitialspace=True)
            missing = [column for column in COLUMNS if column not in (reader.fieldnames or ())]
            if missing:
                found = ", ".join(reader.fieldnames or ()) or "nothing"
                raise UserError(
                    f"{path}: the column {missing[0]} is missing (found: {found}); the columns are "
                    f"{', '.join(COLUMNS)}."
                )
            rows = list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(
            f"{path}: the table cannot be read ({error}); correct the path or save it as UTF-8 CSV."
        ) from error
    annotations = []
    for line, row in enumerate(rows, start=2):
        try:
            episode, start_s, end_s = int(row["episode"]), float(row["start"]), float(row["end"])
        except (TypeError, ValueError) as error:
            raise UserError(
                f"{path} line {line}: episode, start and end have to be numbers ({error}); correct it."
            ) from error
        text = (row["text"] or "").strip()
        if not text:
            raise UserError(
                f"{path} line {line}: the text is empty; write what the robot does, or remove the line."
            )
        annotations.append(Annotation(episode, start_s, end_s, text, line))
    return annotations


def check_annotations(
    reader: DatasetReader, annotations: Sequence[Annotation], source: Path, allow_gaps: bool = False
) -> dict[int, list[SubStepMark]]:
    """Marks by episode, of those episodes that the table names.

    Args:
        source: the table, for messages.
        allow_gaps: leave times without a sub-step as they are; otherwise each named episode is to be covered
            whole.

    Raises:
        UserError: an episode does not exist, a time lies outside of it, two lines overlap, or there is a gap.
    """
    by_episode: dict[int, list[Annotation]] = {}
    for annotation in annotations:
        by_episode.setdefault(annotation.episode, []).append(annotation)
    marks = {}
    for index, lines in sorted(by_episode.items()):
        if not 0 <= index < len(reader.episodes):
            raise UserError(
                f"{source} line {lines[0].line}: there is no episode {index}, only 0 to "
                f"{len(reader.episodes) - 1}."
            )
        marks[index] = _marks(
            reader.episodes[index], reader.fps, sorted(lines, key=lambda a: a.start_s), source, allow_gaps
        )
    return marks


def _marks(
    episode: EpisodeEntry, fps: float, lines: list[Annotation], source: Path, allow_gaps: bool
) -> list[SubStepMark]:
    length_s, slack_s = episode.length / fps, 0.5 / fps
    marks: list[SubStepMark] = []
    end_s = 0.0
    for annotation in lines:
        where = f"{source} line {annotation.line}: episode {annotation.episode}"
        times = f"{annotation.start_s:g} to {annotation.end_s:g} s"
        if not annotation.end_s > annotation.start_s:
            raise UserError(f"{where}: {times} ends before it begins; correct it.")
        if annotation.start_s < -slack_s or annotation.end_s > length_s + slack_s:
            raise UserError(
                f"{where}: {times} lies outside of the episode, which lasts {length_s:g} s; correct it."
            )
        if annotation.start_s < end_s - slack_s:
            raise UserError(
                f"{where}: {times} overlaps the line before it, which ends at {end_s:g} s; correct one."
            )
        if annotation.start_s > end_s + slack_s:
            if not allow_gaps:
                raise UserError(
                    f"{where}: there is a gap from {end_s:g} to {annotation.start_s:g} s; fill it or allow "
                    f"gaps."
                )
            marks.append(SubStepMark(end_s, ""))
        marks.append(SubStepMark(max(0.0, annotation.start_s), annotation.text))
        end_s = annotation.end_s
    if end_s < length_s - slack_s:
        if not allow_gaps:
            line = lines[-1].line
            raise UserError(
                f"{source} line {line}: episode {episode.index}: there is a gap from {end_s:g} to its end "
                f"at {length_s:g} s; "
                "fill it or allow gaps."
            )
        marks.append(SubStepMark(end_s, ""))
    return marks


def write_annotations(reader: DatasetReader, marks: Mapping[int, Sequence[SubStepMark]]) -> None:
    """Replace the sub-steps of those episodes; rows of other styles, and other episodes, stay as they are.

    Each Parquet file is replaced as a whole. `meta/info.json` is written first if it did not name the
    language columns
    yet: LeRobot refuses columns that it does not name.
    """
    with writing_to(reader.folder):
        files = {reader.episodes[index].data_path for index in marks}
        if LANGUAGE_PERSISTENT not in reader.info.features:
            # A column has to be in every file.
            files = set(reader.data_paths())
        for path in sorted(files):
            _rewrite(path, marks, reader.fps)
        if LANGUAGE_PERSISTENT not in reader.info.features or LANGUAGE_EVENTS not in reader.info.features:
            content = read_json(reader.folder / INFO_FILE)
            content["features"] |= {LANGUAGE_PERSISTENT: LANGUAGE_FEATURE, LANGUAGE_EVENTS: LANGUAGE_FEATURE}
            write_json(reader.folder / INFO_FILE, content)


def _rewrite(path: Path, marks: Mapping[int, Sequence[SubStepMark]], fps: float) -> None:
    table = read_table(path)
    episodes = table["episode_index"].to_pylist()
    rows = table.num_rows
    before = (
        table[LANGUAGE_PERSISTENT].to_pylist() if LANGUAGE_PERSISTENT in table.column_names else [[]] * rows
    )
    cells: dict[int, list] = {}
    for row, episode in enumerate(episodes):
        if episode not in cells:
            kept = [dict(entry) for entry in before[row] or ()]
            if episode in marks:
                others = [entry for entry in kept if entry.get("style") != SUBTASK_STYLE]
                kept = sorted(
                    [*others, *persistent_rows(marks[episode], fps)], key=lambda entry: entry["timestamp"]
                )
            cells[episode] = kept
    persistent = pa.array([cells[episode] for episode in episodes], type=PERSISTENT_TYPE)
    table = _with_column(table, LANGUAGE_PERSISTENT, persistent)
    if LANGUAGE_EVENTS not in table.column_names:
        table = _with_column(table, LANGUAGE_EVENTS, pa.array([[]] * rows, type=EVENTS_TYPE))
    temporary = path.with_name(f"{path.stem}.{os.getpid()}.tmp")
    with parquet.ParquetWriter(temporary, table.schema, compression="zstd") as writer:
        start = 0
        for row in range(1, rows + 1):
            # One row group per episode: one episode is read without the others.
            if row == rows or episodes[row] != episodes[row - 1]:
                writer.write_table(table.slice(start, row - start))
                start = row
    os.replace(temporary, path)


def _with_column(table: pa.Table, name: str, column: pa.Array) -> pa.Table:
    if name in table.column_names:
        return table.set_column(table.column_names.index(name), name, column)
    return table.append_column(name, column)

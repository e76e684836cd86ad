"""The Parquet files under `meta/`: tasks and episodes."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as parquet

from dexvla_model.data.lerobot.layout import TASKS_FILE
from dexvla_model.data.lerobot.statistics import FeatureStatistics
from dexvla_model.errors import UserError

EPISODE_FOLDER = "meta/episodes"
_STATISTICS_PREFIX = "stats/"


def write_tasks(path: Path, tasks: Sequence[str]) -> None:
    """Write `meta/tasks.parquet`: task n is the n-th text. pandas reads the texts as its index, as LeRobot
    needs."""
    columns = [_pandas_column("task_index", "int64"), _pandas_column("task", "unicode")]
    metadata = {
        "index_columns": ["task"],
        "column_indexes": [],
        "columns": columns,
        "pandas_version": "2.0.0",
    }
    schema = pa.schema(
        [("task_index", pa.int64()), ("task", pa.string())], metadata={"pandas": json.dumps(metadata)}
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(pa.table([list(range(len(tasks))), list(tasks)], schema=schema), path)


def _pandas_column(name: str, kind: str) -> dict[str, Any]:
    numpy_type = "object" if kind == "unicode" else kind
    return {"name": name, "field_name": name, "pandas_type": kind, "numpy_type": numpy_type, "metadata": None}


def read_tasks(dataset: Path) -> dict[int, str]:
    """Texts by task index.

    Raises:
        UserError: the file is missing or holds no tasks.
    """
    path = dataset / TASKS_FILE
    table = read_table(path)
    # pandas names an index without a name like this.
    name = next((name for name in ("task", "__index_level_0__") if name in table.column_names), None)
    if name is None or "task_index" not in table.column_names:
        raise UserError(
            f"{path}: the columns are {', '.join(table.column_names)}, but task and task_index are needed."
        )
    return dict(zip(table["task_index"].to_pylist(), map(str, table[name].to_pylist())))


def read_table(path: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """A Parquet file.

    Raises:
        UserError: it is missing or damaged.
    """
    try:
        return parquet.read_table(
            path, columns=list(columns) if columns is not None else None, partitioning=None
        )
    except (OSError, pa.ArrowException) as error:
        raise UserError(
            f"{path}: the Parquet file cannot be read ({error}); restore it or convert again."
        ) from error


def read_episode_rows(dataset: Path) -> list[dict[str, Any]]:
    """Rows of all files below `meta/episodes`, by episode; statistics are left out.

    Raises:
        UserError: there is no such file, or one is damaged.
    """
    paths = sorted((dataset / EPISODE_FOLDER).glob("*/*.parquet"))
    if not paths:
        raise UserError(
            f"{dataset / EPISODE_FOLDER}: there is no Parquet file; restore the dataset's meta folder."
        )
    rows = []
    for path in paths:
        try:
            names = parquet.read_schema(path).names
        except (OSError, pa.ArrowException) as error:
            raise UserError(f"{path}: the Parquet file cannot be read ({error}); restore it.") from error
        kept = [name for name in names if not name.startswith(_STATISTICS_PREFIX)]
        rows += read_table(path, kept).to_pylist()
    return sorted(rows, key=lambda row: row["episode_index"])


def read_episode_statistics(dataset: Path) -> dict[int, dict[str, FeatureStatistics]]:
    """Statistics by episode and feature; empty where the dataset has none."""
    found: dict[int, dict[str, FeatureStatistics]] = {}
    for path in sorted((dataset / EPISODE_FOLDER).glob("*/*.parquet")):
        table = read_table(path)
        names = [name for name in table.column_names if name.startswith(_STATISTICS_PREFIX)]
        for row in table.select(["episode_index", *names]).to_pylist():
            statistics: dict[str, FeatureStatistics] = {}
            for name in names:
                feature, _, kind = name.removeprefix(_STATISTICS_PREFIX).rpartition("/")
                if row[name] is not None:
                    statistics.setdefault(feature, {})[kind] = np.asarray(row[name])
            found[row["episode_index"]] = statistics
    return found


def write_episode_rows(
    path: Path, rows: Sequence[Mapping[str, Any]], statistics: Sequence[Mapping[str, FeatureStatistics]]
) -> None:
    """Write one file below `meta/episodes`: a row per episode, its statistics in columns
    `stats/FEATURE/KIND`."""
    columns: dict[str, list] = {name: [row[name] for row in rows] for name in rows[0]}
    for feature, values in statistics[0].items():
        for kind in values:
            found = [episode.get(feature, {}).get(kind) for episode in statistics]
            columns[f"{_STATISTICS_PREFIX}{feature}/{kind}"] = [
                None if value is None else np.asarray(value).tolist() for value in found
            ]
    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(pa.table(columns), path, compression="zstd")

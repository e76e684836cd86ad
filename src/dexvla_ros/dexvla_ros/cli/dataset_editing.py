"""`dexvla dataset annotate`, `merge` and `split`: changing datasets."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from dexvla_ros.cli.dataset_progress import progress_bar

Folder = Annotated[Path, typer.Argument(help="Folder of the dataset.", show_default=False)]
Out = Annotated[Path, typer.Option(help="Folder of the result.", show_default=False)]


def annotate(
    dataset: Folder,
    table: Annotated[
        Path | None,
        typer.Option(help="CSV with the columns episode, start, end, text; times in s.", show_default=False),
    ] = None,
    export: Annotated[
        Path | None,
        typer.Option(help="Write the dataset's sub-steps to this CSV instead.", show_default=False),
    ] = None,
    allow_gaps: Annotated[
        bool,
        typer.Option("--allow-gaps", help="Take a table that leaves parts of an episode without a sub-step."),
    ] = False,
) -> None:
    """Write the sub-steps of episodes from a table, or out to one.

    The episodes that the table names get its sub-steps instead of those that they had; other episodes stay. A
    table with gaps, overlaps or times outside of an episode changes nothing, and its line is named.
    """
    from dexvla_model.data.lerobot.annotation import (
        check_annotations,
        export_annotations,
        read_annotations,
        write_annotations,
    )
    from dexvla_model.data.lerobot.reader import DatasetReader
    from dexvla_model.errors import UserError

    if (table is None) == (export is None):
        raise UserError("Give either --table CSV, to write sub-steps, or --export CSV, to get them.")
    reader = DatasetReader(dataset)
    if export is not None:
        count = export_annotations(reader, export)
        Console(markup=False).print(f"{count} sub-steps of {len(reader.episodes)} episodes are in {export}.")
        return
    marks = check_annotations(reader, read_annotations(table), table, allow_gaps)
    write_annotations(reader, marks)
    Console(markup=False).print(f"The sub-steps of {len(marks)} episodes in {dataset} are those of {table}.")


def merge(
    datasets: Annotated[
        list[Path], typer.Argument(help="Datasets of one robot, rate and kind.", show_default=False)
    ],
    out: Out,
) -> None:
    """Put the episodes of several datasets into one, in order. Nothing is encoded again.

    A merge that was interrupted goes on where it stopped when the same command is given again.
    """
    from dexvla_model.data.lerobot.combining import merge_datasets
    from dexvla_model.data.lerobot.reader import DatasetReader

    with progress_bar("copying episodes") as progress:
        written = merge_datasets([DatasetReader(folder) for folder in datasets], out, progress)
    Console(markup=False).print(f"{written.total_episodes} episodes, {written.total_frames} frames in {out}.")


def split(
    dataset: Folder,
    out: Annotated[
        Path, typer.Option(help="Folder for the parts, each a dataset in it.", show_default=False)
    ],
    fractions: Annotated[
        str, typer.Option(help="Parts and their shares, drawn at random, such as train=0.9,val=0.1.")
    ] = "",
    episodes: Annotated[
        str, typer.Option(help="Parts and their episodes, such as train=0-79,val=80-99 or bad=3+7-9.")
    ] = "",
    by_success: Annotated[
        bool, typer.Option("--by-success", help="One part each for success, failure and unknown outcome.")
    ] = False,
    seed: Annotated[
        int, typer.Option(min=0, help="Of the drawing; the same seed draws the same episodes.")
    ] = 0,
) -> None:
    """Put the episodes of a dataset into several, by shares, by number or by success. Nothing is encoded
    again."""
    from dexvla_model.data.lerobot.combining import split_by_fractions, split_by_success, split_dataset
    from dexvla_model.data.lerobot.reader import DatasetReader
    from dexvla_model.errors import UserError

    if sum(map(bool, (fractions, episodes, by_success))) != 1:
        raise UserError("Give one of --fractions, --episodes and --by-success.")
    reader = DatasetReader(dataset)
    if fractions:
        shares = {name: _number(name, value) for name, value in _parts("--fractions", fractions).items()}
        parts = split_by_fractions(reader, shares, seed)
    elif episodes:
        parts = {name: _indices(value) for name, value in _parts("--episodes", episodes).items()}
    else:
        parts = split_by_success(reader)
    with progress_bar("copying episodes") as progress:
        written = split_dataset(reader, parts, out, progress)
    for name, info in written.items():
        Console(markup=False).print(
            f"{info.total_episodes} episodes, {info.total_frames} frames in {out / name}."
        )


def _parts(option: str, text: str) -> dict[str, str]:
    from dexvla_model.errors import UserError

    parts = {}
    for part in text.split(","):
        name, separator, value = part.strip().partition("=")
        if not separator or not name or not value or "/" in name or name in parts:
            raise UserError(
                f"{option} {text}: expected NAME=VALUE parts with different names, separated by commas."
            )
        parts[name] = value
    return parts


def _number(name: str, text: str) -> float:
    from dexvla_model.errors import UserError

    try:
        return float(text)
    except ValueError as error:
        raise UserError(f"--fractions: {name} is {text!r}, but a number in (0, 1] is needed.") from error


def _indices(text: str) -> list[int]:
    from dexvla_model.errors import UserError

    indices: list[int] = []
    try:
        for part in text.split("+"):
            first, _, last = part.partition("-")
            indices += range(int(first), int(last or first) + 1)
    except ValueError as error:
        raise UserError(f"--episodes: {text!r} is no list of episodes, such as 0-79 or 3+7-9.") from error
    return indices

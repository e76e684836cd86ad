"""`dexvla checkpoint`: bring published checkpoints in, and look at what a checkpoint is."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

app = typer.Typer(
    help="Import published checkpoints, and show what a checkpoint holds.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)

_Json = Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")]


@app.command("import")
def import_(
    path: Annotated[
        Path,
        typer.Argument(
            help="A published DexVLA folder, a plain Qwen-VL folder, a stage-1 ScaleDP file, or a "
            "checkpoint of this project that gets a robot or another type.",
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder of the new checkpoint. Default: checkpoints/ and the source's name.",
            show_default=False,
        ),
    ] = None,
    robot: Annotated[
        str | None,
        typer.Option(
            help="Robot of the head: a name in config/robots, or the path of a robot file. Without one, the "
            "head is imported but cannot drive.",
            show_default=False,
        ),
    ] = None,
    embodiment: Annotated[
        str | None,
        typer.Option(help="Name of the head. Default: the robot's embodiment.", show_default=False),
    ] = None,
    only_head: Annotated[
        str | None,
        typer.Option(
            help="Keep the head of this embodiment alone, of a checkpoint of this project: what was trained on for "
            "one robot has forgotten the others.",
            show_default=False,
        ),
    ] = None,
    dtype: Annotated[
        str | None,
        typer.Option(
            help="Type of the weights: float32 or bfloat16. Default: as published.", show_default=False
        ),
    ] = None,
    qwen: Annotated[
        Path | None,
        typer.Option(help="Qwen-VL folder that a stage-1 file gets as its backbone.", show_default=False),
    ] = None,
    stage1: Annotated[
        Path | None,
        typer.Option(
            help="Expert for a Qwen-VL folder: a published stage-1 file, or a checkpoint of this project.",
            show_default=False,
        ),
    ] = None,
    expert: Annotated[
        str, typer.Option(help="Size of the new expert behind a Qwen-VL folder without --stage1.")
    ] = "scaledp-h",
    horizon: Annotated[int, typer.Option(min=1, help="Rows in the action chunks of a new head.")] = 50,
    tokenizer: Annotated[
        Path | None,
        typer.Option(
            help="Folder with tokenizer.json. Default: beside the weights or above.", show_default=False
        ),
    ] = None,
    statistics: Annotated[
        Path | None,
        typer.Option(
            help="dataset_stats.pkl of the training. Default: beside the weights or above.",
            show_default=False,
        ),
    ] = None,
    attention_heads: Annotated[
        int | None,
        typer.Option(min=1, help="Attention heads of an expert of no published size.", show_default=False),
    ] = None,
    ema: Annotated[bool, typer.Option("--ema", help="Take the averaged weights of a stage-1 file.")] = False,
    seed: Annotated[int, typer.Option(min=0, help="Decides what is initialised.")] = 0,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a checkpoint that stands there.")
    ] = False,
    as_json: _Json = False,
) -> None:
    """Bring a published checkpoint into this project's format.

    Tensors are read one by one, nothing in a file is ever run, and the folder appears when it is complete.
    What was loaded, renamed, initialised and left over is printed, and kept in the folder as import.json.
    """
    from dexvla_model.checkpoint.importing import ImportRequest, import_checkpoint, weights_dtype
    from dexvla_model.robot import load_robot

    request = ImportRequest(
        path=path,
        out=Path("checkpoints", _name_of(path)) if out is None else out,
        robot=None if robot is None else load_robot(robot),
        embodiment=embodiment,
        dtype=None if dtype is None else weights_dtype(dtype),
        backbone=qwen,
        stage1=stage1,
        tokenizer=tokenizer,
        statistics=statistics,
        expert=expert,
        horizon=horizon,
        attention_heads=attention_heads,
        averaged=ema,
        seed=seed,
        overwrite=overwrite,
        only_head=only_head,
    )
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        bar = progress.add_task("reading headers", total=None)

        def show(done: int, total: int, what: str) -> None:
            progress.update(bar, completed=done, total=total, description=what)

        report = import_checkpoint(request, show).to_json()
    if as_json:
        print(json.dumps(report))
        return
    console = Console(soft_wrap=True)
    _print_report(console, report)
    console.print(f"Checkpoint written to {report['out']} ({report['dtype']}).", highlight=False)


@app.command("info")
def info(
    path: Annotated[
        Path, typer.Argument(help="A checkpoint of this project, by folder or name, or a published one.")
    ],
    as_json: _Json = False,
) -> None:
    """Show sizes, heads, stage, statistics and provenance of a checkpoint, of this project's or of a
    published layout."""
    from dexvla_model.checkpoint.summary import summarise
    from dexvla_model.resources import checkpoint_folder

    summary = summarise(checkpoint_folder(str(path)))
    if as_json:
        print(json.dumps(summary))
        return
    _print_summary(Console(), summary)


def _name_of(path: Path) -> str:
    """Name of a folder, or of a file without its ending."""
    return path.absolute().name if path.is_dir() else path.stem


def _print_report(console: Console, report: Mapping[str, Any]) -> None:
    table = Table(
        "", "tensors", "parameters", "bytes", title=f"Imported {report['source']} ({report['layout']})"
    )
    for column in table.columns[1:]:
        column.justify = "right"
    for kind in ("loaded", "initialised", "left_over"):
        table.add_row(kind.replace("_", " "), *_counts(report[kind]), style="bold")
        for part, tally in report.get(f"{kind}_parts", {}).items():
            table.add_row(f"  {part}", *_counts(tally))
        if kind == "left_over":
            reasons: dict[str, int] = {}
            for reason in report["left_over_tensors"].values():
                reasons[reason] = reasons.get(reason, 0) + 1
            for reason, count in reasons.items():
                table.add_row(f"  {reason}", str(count), "", "")
    table.add_row("renamed", str(len(report["renamed"])), "", "")
    console.print(table)
    for name, head in report["heads"].items():
        console.print(f"Head {name}: {_head(head)}", highlight=False)
    for note in report["notes"]:
        console.print(note, style="yellow", highlight=False)


def _print_summary(console: Console, summary: Mapping[str, Any]) -> None:
    dtypes = ", ".join(f"{name} {count:,}" for name, count in summary["dtypes"].items())
    console.print(
        f"[bold]{summary['path']}[/bold]: {summary['layout']}, kind {summary['kind']}", highlight=False
    )
    table = Table("part", "tensors", "parameters", "bytes")
    for column in table.columns[1:]:
        column.justify = "right"
    for part, tally in summary["parts"].items():
        table.add_row(part, *_counts(tally))
    tensors = sum(tally["tensors"] for tally in summary["parts"].values())
    table.add_row("all", f"{tensors:,}", f"{summary['parameters']:,}", _bytes(summary["bytes"]), style="bold")
    console.print(table)
    console.print(
        f"Parameters by type: {dtypes}; files: {', '.join(Path(f).name for f in summary['files'])}",
        highlight=False,
    )
    for name, sizes in summary["architecture"].items():
        console.print(
            f"{name}: {json.dumps(sizes)}" if isinstance(sizes, dict) else f"{name}: {sizes}", highlight=False
        )
    for name, head in summary["heads"].items():
        console.print(f"Head {name}: {_head(head)}", highlight=False)
    for name, statistics in summary["statistics"].items():
        console.print(_statistics_table(name, statistics, summary["heads"].get(name, {}).get("joints") or {}))
    if summary["provenance"]:
        console.print(
            "Provenance: " + ", ".join(f"{k} {v}" for k, v in summary["provenance"].items()), highlight=False
        )
    if summary["import"]:
        from dexvla_model.checkpoint.importing.report import summary_of

        console.print(f"Imported {summary_of(summary['import'])}.", highlight=False)


def _counts(tally: Mapping[str, int]) -> tuple[str, str, str]:
    return f"{tally['tensors']:,}", f"{tally['parameters']:,}", _bytes(tally["bytes"])


def _bytes(count: int) -> str:
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= size:
            return f"{count / size:.2f} {unit}"
    return f"{count} B"


def _head(head: Mapping[str, Any]) -> str:
    cameras = (
        ", ".join(f"{role} {size[0]} x {size[1]}" for role, size in head["cameras"].items()) or "unknown"
    )
    return (
        f"{head['state']} states, {head['action']} actions, horizon {head['horizon']}, cameras {cameras}, "
        f"robot file {head['robot'] or 'none'}, statistics {'yes' if head['statistics'] else 'none'}"
    )


def _statistics_table(
    name: str, statistics: Mapping[str, list[float]], joints: Mapping[str, list[str]]
) -> Table:
    """One row for each dimension; `joints`: their names in `state` and `action`, where a robot file says
    them."""
    table = Table("", "", *(f"{key}" for key in ("mean", "std", "min", "max")), title=f"Statistics of {name}")
    relative = statistics["relative_to"]
    for vector, keys in (("state", ("state_mean", "state_std")), ("action", ("action_min", "action_max"))):
        for index, pair in enumerate(zip(*(statistics[key] for key in keys), strict=True)):
            label = joints[vector][index] if vector in joints else str(index)
            if vector == "action" and relative[index] >= 0:
                label += " (relative)"
            values = [f"{value:.4g}" for value in pair]
            table.add_row(vector, label, *(values + ["", ""] if vector == "state" else ["", ""] + values))
    return table

"""`dexvla dataset info`, `validate`, `stats` and `view`: looking at a dataset."""

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from dexvla_ros.cli.dataset_progress import progress_bar
from dexvla_ros.cli.exit_codes import USER_ERROR

Folder = Annotated[Path, typer.Argument(help="Folder of the dataset.", show_default=False)]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")]


def info(dataset: Folder, as_json: AsJson = False) -> None:
    """Say what a dataset holds: rate, features, episodes, instructions, sub-steps, sizes."""
    from dexvla_model.data.lerobot.legacy import open_any_version

    reader = open_any_version(dataset)
    marks = reader.sub_steps()
    sizes = {
        kind: sum(path.stat().st_size for path in dataset.glob(f"{kind}/**/*") if path.is_file())
        for kind in ("data", "videos", "meta")
    }
    successes = [episode.success for episode in reader.episodes]
    summary = {
        "folder": str(dataset),
        "version": reader.info.codebase_version,
        "robot": reader.info.robot_type,
        "has_robot_file": reader.robot is not None,
        "fps": reader.fps,
        "episodes": len(reader.episodes),
        "frames": reader.total_frames,
        "duration_s": reader.total_frames / reader.fps,
        "successes": successes.count(True),
        "failures": successes.count(False),
        "episodes_with_sub_steps": sum(any(mark.text for mark in found) for found in marks.values()),
        "instructions": {
            task: sum(task in episode.tasks for episode in reader.episodes) for task in reader.tasks.values()
        },
        "features": {name: [f["dtype"], f["shape"]] for name, f in reader.info.features.items()},
        "bytes": sizes,
    }
    if as_json:
        print(json.dumps(summary))
        return
    console = Console()
    console.print(
        f"{dataset}: LeRobot {summary['version']}, robot {summary['robot'] or 'not named'}"
        f"{'' if summary['has_robot_file'] else ' (no robot file)'}, {reader.fps:g} Hz",
        style="bold",
        markup=False,
    )
    console.print(
        f"{summary['episodes']} episodes, {summary['frames']} frames, {summary['duration_s'] / 60:.1f} min; "
        f"{summary['successes']} succeeded, {summary['failures']} failed; "
        f"{summary['episodes_with_sub_steps']} with sub-steps"
    )
    console.print(", ".join(f"{kind} {size / 1e6:.1f} MB" for kind, size in sizes.items()))
    table = Table("feature", "type", "shape", "names")
    for name, feature in reader.info.features.items():
        codec = (feature.get("info") or {}).get("video.codec")
        names = feature.get("names") if feature["dtype"] not in ("image", "video") else None
        shown = ", ".join(map(str, names)) if isinstance(names, list) else str(names or "")
        table.add_row(name, feature["dtype"] + (f" ({codec})" if codec else ""), str(feature["shape"]), shown)
    console.print(table)
    for task, count in summary["instructions"].items():
        console.print(f"{count} x {task!r}", markup=False)


def validate(
    dataset: Folder,
    full: Annotated[
        bool, typer.Option("--full", help="Decode every picture, not the first and last of each episode.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Look for everything that is wrong: counts, files, columns, values, stamps, sub-steps, videos.

    The exit code is 0 for a sound dataset and 2 for a broken one; every problem is named.
    """
    from dexvla_model.data.lerobot.validation import find_problems

    with progress_bar("checking episodes") as progress:
        problems = find_problems(dataset, every_frame=full, progress=progress)
    if as_json:
        print(json.dumps({"folder": str(dataset), "problems": [vars(problem) for problem in problems]}))
    elif problems:
        console = Console(soft_wrap=True, highlight=False)
        for problem in problems:
            console.print(str(problem), markup=False)
        console.print(f"{len(problems)} problems.", style="bold red")
    else:
        Console(markup=False).print(f"{dataset} is sound.")
    if problems:
        raise typer.Exit(USER_ERROR)


def stats(
    dataset: Folder,
    recompute: Annotated[
        bool, typer.Option("--recompute", help="Measure all frames anew and write meta/stats.json.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show the statistics of every feature, or measure them anew."""
    from dexvla_model.data.lerobot.layout import STATS_FILE
    from dexvla_model.data.lerobot.measuring import measure_dataset, write_statistics
    from dexvla_model.data.lerobot.reader import DatasetReader
    from dexvla_model.data.lerobot.statistics import statistics_to_json
    from dexvla_model.data.recorded_frames import feature_names
    from dexvla_model.errors import UserError

    reader = DatasetReader(dataset)
    if recompute:
        with progress_bar("measuring features") as progress:
            statistics = measure_dataset(reader, progress)
        write_statistics(reader, statistics)
    else:
        statistics = reader.statistics()
        if not statistics:
            raise UserError(
                f"{dataset / STATS_FILE} does not exist; make it with `dexvla dataset stats {dataset} "
                f"--recompute`."
            )
    if as_json:
        print(json.dumps(statistics_to_json(statistics)))
        return
    kinds = ("min", "max", "mean", "std", "q01", "q99")
    table = Table(box=None, padding=(0, 1, 0, 0))
    table.add_column("", min_width=32)
    for kind in kinds:
        table.add_column(kind, justify="right")
    for name, values in statistics.items():
        feature = reader.info.features.get(name, {})
        names = (feature_names(feature) if feature.get("dtype") not in ("image", "video") else None) or []
        entries = values["mean"].ravel().size
        table.add_row(f"[bold]{name}[/bold] ({values['count'].ravel()[0]})", *[""] * len(kinds))
        for entry in range(entries):
            shown = [f"{values[kind].ravel()[entry]:.4g}" if kind in values else "" for kind in kinds]
            table.add_row("  " + (names[entry] if len(names) == entries else str(entry)), *shown)
    Console().print(table)


def view(
    dataset: Folder,
    episode: Annotated[int, typer.Option(min=0, help="Which episode.")] = 0,
    out: Annotated[
        Path | None,
        typer.Option(help="The page. Default: episode_N.html in the current folder.", show_default=False),
    ] = None,
) -> None:
    """Write an episode as one HTML page: pictures, state and action curves, sub-steps, and a slider over all
    of them.

    The page needs nothing else, no network either.
    """
    from dexvla_model.data.lerobot.page import write_page
    from dexvla_model.data.lerobot.reader import DatasetReader
    from dexvla_model.errors import UserError

    reader = DatasetReader(dataset)
    if episode >= len(reader.episodes):
        raise UserError(
            f"{dataset}: there is no episode {episode}, the last one is {len(reader.episodes) - 1}."
        )
    path = out or Path(f"episode_{episode}.html")
    write_page(reader, reader.episodes[episode], path)
    Console(markup=False).print(f"Episode {episode} is in {path}; open it in a browser.")

"""`dexvla eval suite`: the table of several policies on several tasks."""

import json
import os
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from dexvla_ros.cli.episode_progress import episode_progress


def suite(
    config: Annotated[
        str | None,
        typer.Option(
            help="Suite: a name in config/evaluation, or the path of such a file.", show_default=False
        ),
    ] = None,
    policy: Annotated[
        list[str] | None,
        typer.Option(
            help="Instead of a file: a policy, as for `dexvla eval`; may be repeated.", show_default=False
        ),
    ] = None,
    on: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ROBOT:TASK", help="What every --policy is to do; may be repeated.", show_default=False
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for the results. Default: outputs/evaluation/NAME.", show_default=False),
    ] = None,
    episodes: Annotated[
        int | None,
        typer.Option(min=1, help="Episodes of each entry. Default: the file's, or 100.", show_default=False),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(
            min=0, help="Seed of the first episode. Default: the file's, or 1000.", show_default=False
        ),
    ] = None,
    timeout_s: Annotated[
        float | None,
        typer.Option(
            "--timeout",
            min=1.0,
            help="Simulated seconds per episode. Default: the file's, or the task's own limit.",
            show_default=False,
        ),
    ] = None,
    processes: Annotated[int, typer.Option(min=0, help="Parallel processes; 0 means one per CPU core.")] = 0,
    ray: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="Run on the Ray cluster at this address instead (**auto**: the one of this machine).",
            show_default=False,
        ),
    ] = None,
    restart: Annotated[
        bool, typer.Option(help="Run the episodes again that the folder holds already.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the report as JSON on standard output.")
    ] = False,
) -> None:
    """Evaluate several policies on the same unseen seeds, with intervals, and say which differences are real.

    Writes results.json, results.md and results.png. Interrupted, it goes on where it was when the same
    command is given again; the results do not depend on how many processes or machines it ran on.
    """
    from dexvla_model.errors import UserError
    from dexvla_sim.suite import load_suite, run_suite, suite_of, write_report
    from dexvla_sim.suite.dispatch import run_in_processes, run_on_ray
    from dexvla_sim.suite.entries import find_suite

    if config and (policy or on):
        raise UserError(
            "--config and --policy or --on exclude each other: the file names its policies; leave one out."
        )
    path = find_suite(config) if config else None
    chosen = load_suite(path) if path else suite_of(policy or (), on or ())
    chosen = chosen.with_settings(episodes, seed, timeout_s)
    chosen.check()
    folder = out or Path("outputs", "evaluation", path.stem if path else "suite")
    if ray:
        dispatch = partial(run_on_ray, address=ray, workers=processes)
    else:
        dispatch = partial(run_in_processes, processes=processes or os.cpu_count() or 1)
    with episode_progress() as progress:
        total = sum(entry.episodes for entry in chosen.entries)
        whole = progress.add_task("all", total=total) if len(chosen.entries) > 1 else None
        bars = {
            entry: progress.add_task(
                f"{entry.label}, {entry.task} on {entry.robot}", total=entry.episodes, start=False
            )
            for entry in chosen.entries
        }
        successes = dict.fromkeys(chosen.entries, 0)

        def on_episode(entry, result) -> None:
            successes[entry] += result.success
            progress.start_task(bars[entry])
            text = f"{entry.label}, {entry.task} on {entry.robot}: {successes[entry]} succeeded"
            progress.update(bars[entry], advance=1, description=text)
            if whole is not None:
                progress.advance(whole)

        report = run_suite(chosen, folder, dispatch, on_episode, restart)
    paths = write_report(report, folder)
    if as_json:
        print(json.dumps(report.to_json()))
        return
    # Not wrapped: it is to be copied.
    print(report.to_markdown())
    Console(stderr=True).print(f"Written to {', '.join(map(str, paths))}.", highlight=False)

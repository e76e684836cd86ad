"""`dexvla demonstrate`: write demonstrations of the scripted demonstrator."""

import json
import os
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from dexvla_ros.cli import options
from dexvla_ros.cli.episode_progress import episode_progress


def demonstrate(
    out: Annotated[
        Path, typer.Option(help="Folder of the dataset; made if absent, gone on with if it is there.")
    ],
    robot: options.Robot = "ur5e",
    task: options.TaskName = None,
    episodes: Annotated[int, typer.Option(min=1, help="How many episodes.")] = 100,
    seed: Annotated[
        int,
        typer.Option(min=0, help="Seed of the first episode; evaluation uses small ones, so keep this large."),
    ] = 100_000,
    policy: Annotated[
        str,
        typer.Option(
            help="Who moves the robot: 'scripted' or a checkpoint. The labels are always the demonstrator's."
        ),
    ] = "scripted",
    disturb: Annotated[
        bool, typer.Option(help="Push the robot off its way now and then, to show how to recover.")
    ] = True,
    timeout_s: Annotated[
        float,
        typer.Option(
            "--timeout", min=0.1, help="Longest episode in simulated seconds; short ones give many scenes."
        ),
    ] = 20.0,
    start_rad: Annotated[
        float | None,
        typer.Option(
            min=0.0, help="Start every episode this far from home (rad, standard deviation per arm joint)."
        ),
    ] = None,
    as_video: Annotated[
        bool,
        typer.Option(
            "--video/--images", help="Pictures as H.264 video: a quarter of the size, but lossy and slower."
        ),
    ] = False,
    processes: Annotated[int, typer.Option(min=0, help="Parallel processes; 0 means one per CPU core.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON summary on standard output.")] = False,
) -> None:
    """Write demonstrations as a LeRobot dataset: simulated episodes, every frame with the demonstrator's
    answer.

    A run that was interrupted goes on where it stopped when the same command is given again.
    """
    from dexvla_model.robot import load_robot
    from dexvla_sim.demonstrate import DemonstrationJob, record_demonstrations
    from dexvla_sim.tasks import default_task

    task = task or default_task(load_robot(robot))
    job = DemonstrationJob(robot, task, out, policy, disturb, timeout_s, start_rad, as_video)
    with episode_progress() as progress:
        bar = progress.add_task("recording", total=episodes)
        files = progress.add_task("finishing", visible=False)
        recorded = record_demonstrations(
            job,
            range(seed, seed + episodes),
            processes or os.cpu_count() or 1,
            progress=lambda episode: progress.advance(bar),
            finishing=lambda done, total: progress.update(files, completed=done, total=total, visible=True),
        )
        progress.update(bar, completed=episodes)
    successes = sum(episode.success for episode in recorded)
    kept = sum(episode.kept for episode in recorded)
    summary = {
        "out": str(out),
        "task": task,
        "policy": policy,
        "recorded": kept,
        "stuck": len(recorded) - kept,
        "already_there": episodes - len(recorded),
        "frames": sum(episode.frames for episode in recorded),
        "successes": successes,
    }
    if as_json:
        print(json.dumps(summary))
        return
    Console().print(
        f"{kept} episodes recorded in {out} ({summary['frames']} frames, {successes} ended in success), "
        f"{summary['already_there']} were there already."
    )

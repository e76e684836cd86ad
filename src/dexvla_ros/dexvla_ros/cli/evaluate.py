"""`dexvla eval`: success rate of a policy, without ROS."""

import json
import os
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table


def evaluate(
    robot: Annotated[str, typer.Option(help="Robot: a name in config/robots, or the path of a robot file.")] = "ur5e",
    task: Annotated[str, typer.Option(help="Task in the simulation.")] = "pick_place",
    policy: Annotated[
        str, typer.Option(help="'scripted', a shipped checkpoint's name, or a checkpoint folder; default: the shipped one.")
    ] = "",
    episodes: Annotated[int, typer.Option(min=1, help="How many episodes, one seed each.")] = 50,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the first episode.")] = 1000,
    timeout_s: Annotated[float, typer.Option("--timeout", min=1.0, help="Simulated seconds allowed per episode.")] = 30.0,
    processes: Annotated[int, typer.Option(min=0, help="Parallel processes; 0 means one per CPU core.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON on standard output.")] = False,
) -> None:
    """Measure a policy's success rate in simulation, without ROS and faster than real time."""
    from dexvla_model.robot import load_robot
    from dexvla_sim.evaluation import EvaluationJob, evaluate as run_evaluation
    from dexvla_sim.policies import default_policy

    policy = policy or default_policy(load_robot(robot), task)
    job = EvaluationJob(robot=robot, task=task, policy=policy, timeout_s=timeout_s)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        bar = progress.add_task("evaluating", total=episodes)
        successes = 0

        def on_result(result) -> None:
            nonlocal successes
            successes += result.success
            progress.update(bar, advance=1, description=f"evaluating, {successes} succeeded")

        report = run_evaluation(job, range(seed, seed + episodes), processes or os.cpu_count() or 1, progress=on_result)
    if as_json:
        print(json.dumps(report.to_json()))
        return
    summary = report.to_json()
    table = Table("policy", "task", "episodes", "success rate", "95 % interval", "mean duration")
    low, high = report.interval
    table.add_row(
        policy,
        task,
        str(episodes),
        f"{report.success_rate:.0%}",
        f"{low:.0%} to {high:.0%}",
        f"{summary['mean_duration_s']:.1f} s",
    )
    Console().print(table)

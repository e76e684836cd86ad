"""`dexvla eval`: success rate of a policy, without ROS."""

import json
import os
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from dexvla_ros.cli import options
from dexvla_ros.cli.episode_progress import episode_progress
from dexvla_ros.cli.evaluate_suite import suite

app = typer.Typer(
    help="Measure success rates in simulation, without ROS and faster than real time.",
    rich_markup_mode="markdown",
    invoke_without_command=True,
    subcommand_metavar="[suite]",
)
app.command("suite")(suite)


@app.callback()
def evaluate(
    context: typer.Context,
    robot: options.Robot = "ur5e",
    task: options.TaskName = None,
    policy: Annotated[
        str,
        typer.Option(
            help="'scripted', a shipped checkpoint's name, or a checkpoint folder; default: the shipped one."
        ),
    ] = "",
    episodes: Annotated[int, typer.Option(min=1, help="How many episodes, one seed each.")] = 50,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the first episode.")] = 1000,
    timeout_s: Annotated[
        float | None,
        typer.Option(
            "--timeout",
            min=1.0,
            help="Simulated seconds allowed per episode. Default: the task's own limit.",
            show_default=False,
        ),
    ] = None,
    processes: Annotated[int, typer.Option(min=0, help="Parallel processes; 0 means one per CPU core.")] = 0,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the report as JSON on standard output.")
    ] = False,
) -> None:
    """Measure a policy's success rate in simulation, without ROS and faster than real time.

    **dexvla eval suite** compares several policies.
    """
    if context.invoked_subcommand is not None:
        return
    from dexvla_model.robot import load_robot
    from dexvla_sim.evaluation import EvaluationJob, evaluate as run_evaluation
    from dexvla_sim.policies import default_policy
    from dexvla_sim.tasks import default_task

    description = load_robot(robot)
    task = task or default_task(description)
    policy = policy or default_policy(description, task)
    job = EvaluationJob(robot=robot, task=task, policy=policy, timeout_s=timeout_s)
    job.check()
    with episode_progress() as progress:
        bar = progress.add_task("evaluating", total=episodes)
        successes = 0

        def on_result(result) -> None:
            nonlocal successes
            successes += result.success
            progress.update(bar, advance=1, description=f"evaluating, {successes} succeeded")

        report = run_evaluation(
            job, range(seed, seed + episodes), processes or os.cpu_count() or 1, progress=on_result
        )
    if as_json:
        print(json.dumps(report.to_json()))
        return
    summary = report.to_json()
    table = Table(
        "policy",
        "task",
        "episodes",
        "success rate",
        "95 % (Wilson)",
        "mean score",
        "95 % (bootstrap)",
        "jerk²",
        "duration",
    )
    (low, high), (score_low, score_high) = report.interval, report.score_interval
    table.add_row(
        policy,
        task,
        str(episodes),
        f"{report.success_rate:.0%}",
        f"{low:.0%} to {high:.0%}",
        f"{report.mean_score:.2f}",
        f"{score_low:.2f} to {score_high:.2f}",
        f"{summary['mean_squared_jerk_rad2_s6']:.0f} rad²/s⁶",
        f"{summary['mean_duration_s']:.1f} s",
    )
    Console().print(table)
    rates = [f"{name} {rate:.0%}" for name, rate in summary["milestone_rates"].items()]
    Console().print(f"Reached on the way: {', '.join(rates)}.", highlight=False)

"""`dexvla demo`: the whole graph, from an instruction to a video."""

from pathlib import Path
from typing import Annotated

import typer

from dexvla_ros.cli import options
from dexvla_ros.cli.interrupts import end_by_keyboard_interrupt


def demo(
    robot: options.Robot = "ur5e",
    task: options.TaskName = None,
    policy: options.Policy = None,
    instruction: Annotated[
        str | None,
        typer.Option(
            help="What to tell the policy, in plain words. Default: what the simulated world asks for, by "
            "which success is judged in any case.",
            show_default=False,
        ),
    ] = None,
    episodes: Annotated[int, typer.Option(min=1, help="How many episodes, one after the other.")] = 1,
    seed: options.Seed = 0,
    timeout: Annotated[
        float | None,
        typer.Option(
            min=1.0,
            help="Longest time of an episode, in simulated seconds. Default: the task's own limit.",
            show_default=False,
        ),
    ] = None,
    output: Annotated[Path, typer.Option(help="Folder for videos and logs.")] = Path("outputs/demo"),
    video: Annotated[bool, typer.Option("--video/--no-video", help="Write an mp4 of every episode.")] = True,
    record_commands: options.RecordCommands = None,
    record: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Record every episode into this folder, as **dexvla record** does.", show_default=False
        ),
    ] = None,
    attach: Annotated[
        bool,
        typer.Option("--attach", help="In a simulated graph that runs already, such as that of **dexvla run --sim**."),
    ] = False,
    json_only: Annotated[
        bool, typer.Option("--json", help="Print nothing but JSON lines on stdout.")
    ] = False,
    verbose: options.Verbose = False,
) -> int:
    """Start simulation and nodes, tell the robot what to do, and watch it.

    Prints each sub-step as the model says it, one JSON line per episode (and a summary if there are several),
    and writes a video with the sub-steps burnt in. Ctrl-C at any moment ends everything.

    Exit code: 0 every episode succeeded, 1 some did not, 2 something in the command is wrong, 3 a node died.
    """
    end_by_keyboard_interrupt()
    from dexvla_ros.bringup import GraphOptions, RecorderOptions, checked, checked_recorder
    from dexvla_ros.cli.graph_command import make_output_folder
    from dexvla_ros.demo.run import DemoPlan, run_demo

    graph = checked(
        GraphOptions(
            robot=robot, policy=policy or "", task=task or "", seed=seed, record_commands=str(record_commands or "")
        )
    )
    make_output_folder(output)
    seeds = range(seed, seed + episodes)
    recorder = checked_recorder(RecorderOptions(robot, str(record))) if record else None
    plan = DemoPlan(graph, seeds, instruction, timeout, output, video, recorder, operator=graph.policy, attach=attach)
    return run_demo(plan, json_only, verbose)

"""`dexvla sim`: the simulated robot alone."""

from pathlib import Path
from typing import Annotated

import typer

from dexvla_ros.cli import options
from dexvla_ros.cli.interrupts import end_by_keyboard_interrupt


def sim(
    robot: options.Robot = "ur5e",
    task: options.TaskName = None,
    seed: options.Seed = 0,
    viewer: Annotated[bool, typer.Option("--viewer", help="Show the world in a window.")] = False,
    record_commands: options.RecordCommands = None,
    output: Annotated[Path, typer.Option(help="Folder for logs.")] = Path("outputs/sim"),
    verbose: options.Verbose = False,
) -> int:
    """Start the simulated robot with its controllers and cameras on their ROS topics, until Ctrl-C.

    It stands where ros2_control and the camera drivers stand otherwise. Drive it with
    **dexvla run --use-sim-time**.
    """
    end_by_keyboard_interrupt()
    from dexvla_ros.bringup import GraphOptions, checked, sim_process
    from dexvla_ros.cli.graph_command import run_until_interrupted

    graph_options = checked(
        GraphOptions(
            robot=robot,
            policy="scripted",
            task=task or "",
            seed=seed,
            record_commands=str(record_commands or ""),
            viewer=viewer,
        ),
        policy_drives=False,
    )
    return run_until_interrupted((sim_process(graph_options),), output, True, verbose)

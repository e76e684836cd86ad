"""`dexvla dashboard`: the operator's page for a graph that runs."""

from pathlib import Path
from typing import Annotated

import typer

from dexvla_ros.cli import options
from dexvla_ros.cli.interrupts import end_by_keyboard_interrupt


def dashboard(
    robot: options.Robot = "ur5e",
    host: Annotated[
        str, typer.Option(help="Address to serve at. 0.0.0.0 lets everybody in the network drive the robot.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to serve at.")] = 8080,
    use_sim_time: Annotated[
        bool, typer.Option("--use-sim-time", help="Follow the clock of a simulation.")
    ] = False,
    output: Annotated[Path, typer.Option(help="Folder for logs.")] = Path("outputs/dashboard"),
    verbose: options.Verbose = False,
) -> int:
    """Serve a page with pictures, sub-steps, joints and a STOP button, until Ctrl-C.

    It shows the graph of the same ROS_DOMAIN_ID, whoever started it.
    """
    end_by_keyboard_interrupt()
    from dexvla_model.robot import load_robot
    from dexvla_ros.bringup import dashboard_process
    from dexvla_ros.cli.graph_command import run_until_interrupted

    load_robot(robot)
    typer.echo(f"http://{host}:{port}")
    return run_until_interrupted(
        (dashboard_process(robot, use_sim_time, host, port),), output, use_sim_time, verbose
    )

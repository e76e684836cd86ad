"""`dexvla run`: the nodes that drive a robot."""

from pathlib import Path
from typing import Annotated

import typer

from dexvla_ros.cli import options
from dexvla_ros.cli.interrupts import end_by_keyboard_interrupt


def run(
    robot: options.Robot = "ur5e",
    policy: options.Policy = None,
    task: options.TaskName = None,
    with_simulation: Annotated[
        bool, typer.Option("--sim", help="Start the simulation, too, and follow its clock.")
    ] = False,
    use_sim_time: Annotated[
        bool, typer.Option("--use-sim-time", help="Follow the clock of a simulation that runs elsewhere.")
    ] = False,
    seed: options.Seed = 0,
    output: Annotated[Path, typer.Option(help="Folder for logs.")] = Path("outputs/run"),
    verbose: options.Verbose = False,
) -> int:
    """Start camera_node, vlm_node and action_node, until Ctrl-C.

    Camera and controller drivers have to run already (or --sim). Send an instruction from another terminal:

    ros2 action send_goal /execute_task dexvla_msgs/action/ExecuteTask
    "{instruction: put the red cube in the tray}"
    """
    end_by_keyboard_interrupt()
    from dexvla_ros.bringup import GraphOptions, checked, policy_processes, simulated_graph
    from dexvla_ros.cli.graph_command import run_until_interrupted

    graph_options = checked(
        GraphOptions(robot=robot, policy=policy or "", task=task or "", seed=seed), with_simulation or use_sim_time
    )
    nodes = (
        simulated_graph(graph_options) if with_simulation else policy_processes(graph_options, use_sim_time)
    )
    return run_until_interrupted(nodes, output, with_simulation or use_sim_time, verbose)

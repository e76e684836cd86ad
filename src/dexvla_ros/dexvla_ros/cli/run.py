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
    motion: Annotated[
        bool,
        typer.Option(
            "--motion/--no-motion",
            help="Start motion_node, for `dexvla move`, and to go home before and after tasks "
            "(home_around_tasks in config/nodes.yaml).",
        ),
    ] = True,
    hardware: Annotated[
        str | None,
        typer.Option(
            help="Bring the robot up, too: **sim** (the same as --sim), **mock** or **real** (with ROS). "
            "Default: its controllers and cameras run already.",
            show_default=False,
        ),
    ] = None,
    robot_ip: Annotated[
        str, typer.Option(help="Address of a real arm that has one.", show_default=False)
    ] = "",
    cameras: Annotated[
        str,
        typer.Option(
            help="With mock or real: drivers of the cameras: **none**, **realsense**, **usb**, **ours**."
        ),
    ] = "none",
    camera_devices: Annotated[
        str,
        typer.Option(metavar="ROLE=DEVICE,...", help="Serial numbers or video devices.", show_default=False),
    ] = "",
    ports: Annotated[
        str,
        typer.Option(
            metavar="SYSTEM=PORT,...", help="CAN channels, serial ports, HOST:PORT.", show_default=False
        ),
    ] = "",
    vendor_arguments: Annotated[
        str, typer.Option(metavar="NAME=VALUE,...", help="For the vendor's launch file.", show_default=False)
    ] = "",
    dashboard: Annotated[
        bool, typer.Option("--dashboard", help="Serve the operator's page at http://127.0.0.1:8080.")
    ] = False,
    output: Annotated[Path, typer.Option(help="Folder for logs.")] = Path("outputs/run"),
    verbose: options.Verbose = False,
) -> int:
    """Start camera_node, vlm_node, action_node and motion_node, until Ctrl-C.

    Camera and controller drivers have to run already, or come with --hardware; --policy none: no policy.
    Send an instruction from another terminal, or from the page of --dashboard:

    ros2 action send_goal /execute_task dexvla_msgs/action/ExecuteTask
    "{instruction: put the red cube in the tray}"
    """
    end_by_keyboard_interrupt()
    from dexvla_model.errors import UserError
    from dexvla_ros.bringup import GraphOptions, checked, dashboard_process, policy_processes
    from dexvla_ros.cli.graph_command import run_until_interrupted
    from dexvla_ros.robot_bringup import BringupOptions, checked_bringup, parse_pairs, robot_graph

    if with_simulation and hardware not in (None, "sim"):
        raise UserError(f"--sim and --hardware {hardware} exclude each other; give one of them.")
    if hardware is None and not with_simulation:
        given = [
            option
            for option, value in (
                ("--robot-ip", robot_ip),
                ("--cameras", cameras != "none"),
                ("--camera-devices", camera_devices),
                ("--ports", ports),
                ("--vendor-arguments", vendor_arguments),
            )
            if value
        ]
        if given:
            raise UserError(f"{given[0]} means something with --hardware mock or real only; give that, too.")
        options_ = checked(
            GraphOptions(robot=robot, policy=policy or "", task=task or "", seed=seed), use_sim_time
        )
        nodes = policy_processes(options_, use_sim_time, motion)
        if dashboard:
            nodes = (*nodes, dashboard_process(robot, use_sim_time))
        return run_until_interrupted(nodes, output, use_sim_time, verbose)
    bringup = BringupOptions(
        robot=robot,
        hardware=hardware or "sim",
        robot_ip=robot_ip,
        policy=policy or "",
        task=task or "",
        seed=seed,
        cameras=cameras,
        camera_devices=parse_pairs(camera_devices, "--camera-devices"),
        ports=parse_pairs(ports, "--ports"),
        vendor_arguments=parse_pairs(vendor_arguments, "--vendor-arguments"),
        motion=motion,
        dashboard=dashboard,
    )
    graph = robot_graph(checked_bringup(bringup))
    return run_until_interrupted(graph.processes, output, graph.use_sim_time, verbose, graph.foreign)

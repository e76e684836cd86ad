"""`dexvla teleop`: drive the robot by hand."""

from pathlib import Path
from typing import Annotated

import typer

from dexvla_ros.cli import options
from dexvla_ros.cli.interrupts import end_by_keyboard_interrupt


def teleop(
    robot: options.Robot = "ur5e",
    device: Annotated[
        str,
        typer.Option(help="What you hold: **keyboard**, **gamepad** or **leader** (another robot's joints)."),
    ] = "keyboard",
    config: Annotated[
        Path | None,
        typer.Option(
            help="Teleoperation file (.yaml). Default: config/teleop/DEVICE.yaml.", show_default=False
        ),
    ] = None,
    with_simulation: Annotated[
        bool, typer.Option("--sim", help="Start the simulated robot, too, and follow its clock.")
    ] = False,
    use_sim_time: Annotated[
        bool, typer.Option("--use-sim-time", help="Follow the clock of a simulation that runs elsewhere.")
    ] = False,
    attach: Annotated[
        bool, typer.Option("--attach", help="Only keys and screen: teleop_node runs already, by launch.")
    ] = False,
    joystick: Annotated[
        Path | None,
        typer.Option(
            help="Gamepad to read, such as /dev/input/js0. Default: whoever publishes Joy, else the first.",
            show_default=False,
        ),
    ] = None,
    task: options.TaskName = None,
    seed: options.Seed = 0,
    viewer: Annotated[bool, typer.Option("--viewer", help="Show the simulated world in a window.")] = False,
    output: Annotated[Path, typer.Option(help="Folder for logs.")] = Path("outputs/teleop"),
    verbose: options.Verbose = False,
) -> int:
    """Drive the robot with keys, a gamepad or a leader arm, inside the limits that a policy has.

    **Enter** takes the robot over: a policy that runs brakes and pauses. **Backspace** hands it back,
    **space** stops. A key moves the robot for as long as it is held, a gamepad while its dead man's button
    is. It needs no display: any terminal does, also over SSH.
    """
    end_by_keyboard_interrupt()
    from dexvla_ros.bringup import (
        GraphOptions,
        TeleopOptions,
        checked,
        checked_teleop,
        sim_process,
        teleop_process,
    )
    from dexvla_ros.cli.teleop_session import run_session

    options_ = checked_teleop(TeleopOptions(robot, device, str(config or "")))
    nodes = [] if attach else [teleop_process(options_, with_simulation or use_sim_time)]
    if with_simulation:
        graph = checked(
            GraphOptions(robot=robot, policy="scripted", task=task or "", seed=seed, viewer=viewer), policy_drives=False
        )
        nodes.insert(0, sim_process(graph))
    return run_session(nodes, options_, joystick, output, with_simulation or use_sim_time, verbose)

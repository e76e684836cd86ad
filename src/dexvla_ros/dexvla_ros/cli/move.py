"""`dexvla move`: take the robot to a pose, by motion_node of a graph that runs."""

import math
from typing import TYPE_CHECKING, Annotated

import typer

from dexvla_ros.cli import options
from dexvla_ros.cli.exit_codes import GRAPH_FAILED, SUCCESS
from dexvla_ros.cli.interrupts import end_by_keyboard_interrupt

if TYPE_CHECKING:
    from dexvla_ros.motion.goals import MoveGoal


def move(
    robot: options.Robot = "ur5e",
    named: Annotated[
        str | None,
        typer.Option(
            help="A named pose: **home**, or one of the robot's SRDF, such as **ready**.", show_default=False
        ),
    ] = None,
    joints: Annotated[
        list[str] | None,
        typer.Option(
            "--joints",
            help="JOINT=POSITION in rad (m for one that slides), once for each joint; the others stay.",
            show_default=False,
        ),
    ] = None,
    pose: Annotated[
        tuple[float, float, float, float, float, float, float] | None,
        typer.Option(
            help="Where --link shall be: x y z in m, and the quaternion qx qy qz qw.", show_default=False
        ),
    ] = None,
    link: Annotated[str, typer.Option(help="The link that --pose is meant for.")] = "grasp_frame",
    frame: Annotated[
        str,
        typer.Option(
            help="Link in whose frame --pose is given. Default: the robot's base.", show_default=False
        ),
    ] = "",
    speed: Annotated[
        float,
        typer.Option(
            min=0.0,
            max=1.0,
            help="Share of the joints' limits; 0 = as set for motion_node.",
            show_default=False,
        ),
    ] = 0.0,
    use_sim_time: Annotated[
        bool, typer.Option("--use-sim-time", help="Follow the clock of a simulation.")
    ] = False,
) -> int:
    """Move the robot to a pose, around the table and around itself. **dexvla run** has to be running.

    Ctrl-C brakes. Examples:

    dexvla move --named home

    dexvla move --joints elbow_joint=1.2 --joints wrist_1_joint=-1.5

    dexvla move --pose 0.4 0.1 0.3 1 0 0 0 --speed 0.2
    """
    end_by_keyboard_interrupt()
    from dexvla_model.errors import UserError
    from dexvla_model.robot import load_robot
    from dexvla_ros.motion.goals import MoveGoal, check_goal, named_poses
    from dexvla_ros.motion.refusal import MotionRefused

    given = [name for name, value in (("--named", named), ("--joints", joints), ("--pose", pose)) if value]
    if len(given) != 1:
        raise UserError(
            f"Of --named, --joints and --pose {' and '.join(given) or 'none'} is given; give exactly "
            "one of them."
        )
    positions = _joint_positions(joints or [])
    goal = MoveGoal(
        named=named or "",
        joints=tuple(positions),
        positions=tuple(positions.values()),
        link=link if pose else "",
        frame=frame,
        speed=speed,
        **_placement(pose),
    )
    description = load_robot(robot)
    try:
        # A speed of 0 is decided by the node.
        check_goal(MoveGoal(**{**vars(goal), "speed": speed or 1.0}), description, named_poses(description))
    except MotionRefused as refusal:
        raise UserError(str(refusal)) from refusal
    return _send(goal, use_sim_time)


def _joint_positions(texts: list[str]) -> dict[str, float]:
    from dexvla_model.errors import UserError

    positions = {}
    for text in texts:
        name, _, value = text.partition("=")
        try:
            positions[name] = float(value)
        except ValueError:
            positions[name] = math.nan
        if not name or not math.isfinite(positions[name]):
            raise UserError(
                f"--joints {text}: needed is JOINT=POSITION, such as elbow_joint=1.2; correct it."
            )
    return positions


def _placement(pose: tuple[float, ...] | None) -> dict:
    if pose is None:
        return {}
    import numpy as np

    return {"position": np.array(pose[:3]), "quaternion": np.array(pose[3:])}


def _send(goal: "MoveGoal", use_sim_time: bool) -> int:
    """Send the goal, show how it goes, and cancel it on Ctrl-C; the exit code."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    from dexvla_ros.graph_client import GraphClient, GraphError
    from dexvla_ros.move_client import MoveClient

    console = Console(soft_wrap=True, highlight=False)
    client = GraphClient("dexvla_move", use_sim_time)
    try:
        with Progress(
            TextColumn("{task.description}"), BarColumn(), console=console, transient=True
        ) as progress:
            bar = progress.add_task("waits for motion_node", total=1.0)

            def show(phase: str, share: float) -> None:
                progress.update(bar, description=phase, completed=share)

            result = MoveClient(client).move(goal, show)
    except GraphError as error:
        Console(stderr=True, soft_wrap=True).print(str(error), style="bold red", markup=False)
        return GRAPH_FAILED
    finally:
        client.close()
    if result.outcome == result.SUCCEEDED:
        console.print(f"{result.message} It took {result.duration_s:.1f} s.", markup=False)
        return SUCCESS
    Console(stderr=True, soft_wrap=True, highlight=False).print(
        result.message, style="bold red", markup=False
    )
    return GRAPH_FAILED

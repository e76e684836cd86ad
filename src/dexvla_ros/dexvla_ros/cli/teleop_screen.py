"""The screen of `dexvla teleop`: what the keys do, and what the robot does."""

from collections.abc import Mapping

import numpy as np
from rich.columns import Columns
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from dexvla_msgs.msg import TeleopState as TeleopStateMessage
from dexvla_ros.messages.teleop_states import state_of_message
from dexvla_ros.teleop.keyboard import CONTROLS
from dexvla_ros.teleop.teleop_loop import TeleopState
from dexvla_sim.kinematics import rotation_vector

_STYLES = {
    TeleopState.RELEASED: "dim",
    TeleopState.ENGAGING: "yellow",
    TeleopState.READY: "green",
    TeleopState.MOVING: "bold green",
    TeleopState.HOLDING: "bold red",
    TeleopState.RELEASING: "yellow",
}
_AXES = {
    "move_x": "move along x",
    "move_y": "move along y",
    "move_z": "move along z",
    "turn_x": "turn about x",
    "turn_y": "turn about y",
    "turn_z": "turn about z",
    "joint": "move the joint",
    "gripper": "close, open the gripper",
}
_DEGREES = 180.0 / np.pi


def key_table(keys: Mapping[str, str], device: str) -> Table:
    """What each key does; with another device than the keyboard, only what is no motion."""
    table = Table.grid(padding=(0, 2))
    by_action: dict[str, list[str]] = {}
    for key, action in keys.items():
        by_action.setdefault(action, []).append(key)
    if device == "keyboard":
        for axis, meaning in _AXES.items():
            pair = [" ".join(by_action.get(f"{axis}{sign}", ["-"])) for sign in "+-"]
            table.add_row(Text(" / ".join(pair), "bold"), meaning)
        joints = [key for key, action in keys.items() if action.startswith("joint_")]
        if joints:
            table.add_row(Text(f"{joints[0]} ... {joints[-1]}", "bold"), "choose a joint")
    shown = CONTROLS if device == "keyboard" else ("engage", "release", "stop", "quit")
    for action in shown:
        if action in by_action:
            table.add_row(Text(" ".join(by_action[action]), "bold"), CONTROLS[action])
    return table


def teleop_screen(
    keys: Table, state: TeleopStateMessage | None, engage_key: str, note: str = ""
) -> RenderableType:
    """Everything, for one moment. `note`: a line below, such as a gamepad that is gone."""
    table = Table.grid(padding=(0, 2))
    if state is None:
        table.add_row("state", Text("waits for teleop_node", "yellow"))
    else:
        where = state_of_message(state)
        table.add_row("state", Text(where.value.upper(), _STYLES[where]))
        table.add_row("why", Text(state.reason))
        if where in (TeleopState.RELEASED, TeleopState.HOLDING):
            table.add_row("", Text(f"{engage_key} takes the robot over", "bold"))
        table.add_row("moves", Text(f"{state.mode} frame" if state.mode in ("base", "tool") else state.mode))
        table.add_row("speed", f"{state.speed:.0%}")
        for name, value in _pose_rows(state):
            table.add_row(name, value)
    panels = Columns([Panel(table, title="robot", width=58), Panel(keys, title="keys", width=52)])
    return Group(panels, Text(note, "red")) if note else panels


def _pose_rows(state: TeleopStateMessage) -> list[tuple[str, str]]:
    pose = state.pose
    quaternion = np.array(
        [pose.orientation.w, pose.orientation.x, pose.orientation.y, pose.orientation.z]
    )
    if not quaternion.any():
        return []
    w, x, y, z = quaternion
    rotation = np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )
    turn = rotation_vector(rotation) * _DEGREES
    position = pose.position
    return [
        ("tool", f"x {position.x:+.3f}  y {position.y:+.3f}  z {position.z:+.3f} m"),
        ("turned", f"x {turn[0]:+6.1f}  y {turn[1]:+6.1f}  z {turn[2]:+6.1f} deg (axis times angle)"),
    ]

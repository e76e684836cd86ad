"""The tasks of the simulation, by name."""

import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Collection

from dexvla_model.errors import UserError
from dexvla_model.robot import RobotDescription
from dexvla_sim.tasks.pick_place import PickPlace
from dexvla_sim.tasks.posture import Posture
from dexvla_sim.tasks.pour import Pour
from dexvla_sim.tasks.sort_bimanual import SortBimanual
from dexvla_sim.tasks.table_bussing import TABLE_BUSSING, TableBussing
from dexvla_sim.tasks.task import Task

TASKS: dict[str, Callable[[], Task]] = {
    task.name: task for task in (PickPlace, Posture, Pour, SortBimanual)
} | TABLE_BUSSING


def load_task(name: str) -> Task:
    """A new task of that name.

    Raises:
        UserError: there is no such task.
    """
    if name not in TASKS:
        raise UserError(
            f"There is no task named {name!r} (allowed: {', '.join(sorted(TASKS))}); name one of these."
        )
    return TASKS[name]()


def time_limit_s(task: str, chosen_s: float | None) -> float:
    """Simulated s that an episode of a task may take: what was chosen, or the task's own limit.

    Raises:
        UserError: there is no such task.
    """
    return load_task(task).time_limit_s if chosen_s is None else chosen_s


def default_task(robot: RobotDescription) -> str:
    """Name of the task for a robot where none is named.

    Sorting for two arms with grippers of two pads each, pick and place for one, pouring for an arm with a hand that
    has a thumb, a posture for every other robot.
    """
    root = ElementTree.fromstring(robot.urdf_xml())
    pads = [shape for shape in root.iter("collision") if shape.get("name", "").endswith("_pad")]
    links = {link.get("name", "") for link in root.iter("link")}
    if {"left_grasp_frame", "right_grasp_frame"} <= links and len(pads) == 4:
        return SortBimanual.name
    if "grasp_frame" in links and len(pads) == 2:
        return PickPlace.name
    thumb = any("thumb" in link for link in links)
    return Pour.name if thumb and _is_carried(root, "grasp_frame", robot.action_joints) else Posture.name


def _is_carried(root: ElementTree.Element, link: str, joints: Collection[str]) -> bool:
    """One of `joints` moves `link` of the URDF."""
    parents = {}
    for joint in root.iter("joint"):
        parent, child = joint.find("parent"), joint.find("child")
        if parent is not None and child is not None:
            parents[child.get("link", "")] = (joint.get("name"), parent.get("link", ""))
    while link in parents:
        name, link = parents[link]
        if name in joints:
            return True
    return False


__all__ = [
    "TABLE_BUSSING",
    "TASKS",
    "PickPlace",
    "Posture",
    "Pour",
    "SortBimanual",
    "TableBussing",
    "Task",
    "default_task",
    "load_task",
    "time_limit_s",
]

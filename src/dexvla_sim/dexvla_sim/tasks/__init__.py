"""The tasks of the simulation, by name."""

import xml.etree.ElementTree as ElementTree
from collections.abc import Callable

from dexvla_model.errors import UserError
from dexvla_model.robot import RobotDescription
from dexvla_sim.tasks.pick_place import PickPlace
from dexvla_sim.tasks.posture import Posture
from dexvla_sim.tasks.task import Task

TASKS: dict[str, Callable[[], Task]] = {PickPlace.name: PickPlace, Posture.name: Posture}


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


def default_task(robot: RobotDescription) -> str:
    """Name of the task for a robot where none is named: pick and place for one gripper with two pads, else a posture."""
    root = ElementTree.fromstring(robot.urdf_xml())
    pads = [shape for shape in root.iter("collision") if shape.get("name", "").endswith("_pad")]
    has_tool = any(link.get("name") == "grasp_frame" for link in root.iter("link"))
    return PickPlace.name if has_tool and len(pads) == 2 else Posture.name


__all__ = ["TASKS", "PickPlace", "Posture", "Task", "default_task", "load_task"]

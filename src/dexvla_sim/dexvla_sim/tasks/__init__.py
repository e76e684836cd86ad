"""The tasks of the simulation, by name."""

from collections.abc import Callable

from dexvla_model.errors import UserError
from dexvla_sim.tasks.pick_place import PickPlace
from dexvla_sim.tasks.task import Task

TASKS: dict[str, Callable[[], Task]] = {PickPlace.name: PickPlace}


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


__all__ = ["TASKS", "PickPlace", "Task", "load_task"]

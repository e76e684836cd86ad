"""A checkpoint's head against the robot file."""

import json
from collections.abc import Iterator
from pathlib import Path

from dexvla_model.errors import UserError
from dexvla_model.resources import find_resource, list_checkpoints
from dexvla_model.robot.check.finding import ERROR, Finding, from_error
from dexvla_model.robot.description import RobotDescription
from dexvla_model.robot.layout import layout_differences


def shipped_checkpoints(robot: RobotDescription) -> list[Path]:
    """The folders below checkpoints/ with a head of the robot's embodiment, for a robot of its name."""
    folders = []
    for name in list_checkpoints():
        folder = find_resource(f"checkpoints/{name}")
        try:
            config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
            robots = config["robots"]
            if Path(robots[robot.embodiment]).stem == robot.name:
                folders.append(folder)
        except (OSError, ValueError, KeyError, TypeError):
            continue  # no checkpoint, or none for this robot
    return folders


def check_head(robot: RobotDescription, folder: Path) -> Iterator[Finding]:
    """Compare the robot file with the checkpoint's head of its embodiment; weights are not read."""
    # Imported here: PyTorch takes seconds, and most checks need none.
    from dexvla_model.checkpoint.folder import read_description
    from dexvla_model.checkpoint.importing.report import heads_of

    try:
        description = read_description(folder)
    except UserError as error:
        yield from_error(error, folder)
        return
    heads, file = heads_of(description), str(robot.path)
    if robot.embodiment not in heads:
        text = (
            f"is {robot.embodiment!r}, but the heads of the checkpoint {folder} are "
            f"{', '.join(heads) or 'none'}."
        )
        yield Finding(ERROR, file, "embodiment", text)
        return
    head = heads[robot.embodiment]
    trained = description.robots.get(robot.embodiment)
    if trained is None:
        text = (
            f"is without a robot file in {folder}: it cannot drive; import the checkpoint "
            "again with --robot."
        )
        yield Finding(ERROR, str(folder / "config.json"), f"robots.{robot.embodiment}", text)
    else:
        for key, found, expected in layout_differences(trained, robot):
            text = f"is {found}, but the checkpoint {folder} was trained with {expected}."
            yield Finding(ERROR, file, key, text)
    if not head["statistics"]:
        text = "is missing: without statistics the head cannot drive."
        yield Finding(ERROR, str(folder / "statistics.json"), robot.embodiment, text)
    for key, length in (("state", len(robot.state)), ("action", len(robot.action))):
        # Where the robot files differ, the same has been said already.
        if head[key] != length and (trained is None or len(getattr(trained, key)) == length):
            text = f"has {length} entries, but the head in {folder} has {head[key]}."
            yield Finding(ERROR, file, key, text)

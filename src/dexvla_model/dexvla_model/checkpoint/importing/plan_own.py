"""A plan for a checkpoint of this project: the same weights, with a robot file, statistics or another
type."""

from dataclasses import replace
from pathlib import Path

from dexvla_model.checkpoint.folder import Description, read_description
from dexvla_model.checkpoint.importing.dataset_statistics import read_dataset_statistics
from dexvla_model.checkpoint.importing.layouts import Layout
from dexvla_model.checkpoint.importing.pieces import Piece
from dexvla_model.checkpoint.importing.plan import (
    ImportPlan,
    ImportRequest,
    check_robot_fits,
    expected_shapes,
    settle,
)
from dexvla_model.checkpoint.importing.published_names import EXPERT
from dexvla_model.checkpoint.tensor_files import TensorFiles
from dexvla_model.dexvla import DexVLAConfig, Embodiment
from dexvla_model.errors import UserError
from dexvla_model.vlm.images import ImageSize


def plan_own(folder: Path, request: ImportRequest) -> ImportPlan:
    """The checkpoint in `folder`; a robot goes to its head, which takes the robot's embodiment as its name.

    Raises:
        UserError: no head is the robot's, or it has other sizes.
    """
    description, files = read_description(folder), TensorFiles(folder)
    names = {name: name for name in files.entries}
    robots, statistics = dict(description.robots), dict(description.statistics)
    config = description.config
    if request.robot is not None or request.statistics is not None:
        old = _head(folder, description, request)
        new = request.head_name if request.robot is not None or request.embodiment else old
        embodiments = dict(config.embodiments)
        embodiment = embodiments.pop(old)
        statistics |= {new: statistics.pop(old)} if old in statistics else {}
        robots |= {new: robots.pop(old)} if old in robots else {}
        if request.statistics is not None:
            statistics[new] = read_dataset_statistics(request.statistics)
        if request.robot is not None:
            absolute = new in statistics and set(statistics[new].relative_to) == {-1}
            sizes = embodiment.head.state_size, embodiment.head.action_size
            check_robot_fits(request.robot, *sizes, folder, relative=not absolute)
            cameras = {c.role: ImageSize(c.model_width, c.model_height) for c in request.robot.cameras}
            embodiment = Embodiment(embodiment.head, cameras)
            robots[new] = request.robot
        config = replace(config, embodiments=embodiments | {new: embodiment})
        prefix = f"{EXPERT}heads.{old}."
        names = {name: name.replace(prefix, f"{EXPERT}heads.{new}.", 1) for name in names}
    left_over = []
    if request.only_head is not None:
        others = tuple(f"{EXPERT}heads.{name}." for name in config.embodiments if name != request.only_head)
        config = _with_one_head(folder, config, request.only_head)
        dropped = [old for old, new in names.items() if new.startswith(others)]
        left_over = [(files.entries[old], "head of another robot") for old in dropped]
        names = {old: new for old, new in names.items() if old not in dropped}
        robots, statistics = (
            {name: value for name, value in table.items() if name == request.only_head}
            for table in (robots, statistics)
        )
    shapes = expected_shapes(config)
    pieces = {new: Piece(files, old) for old, new in names.items()}
    unknown = sorted(set(pieces) - set(shapes))
    if unknown:
        raise UserError(
            f"{folder}: tensor {unknown[0]!r} is not part of the model in config.json: restore the "
            "checkpoint."
        )
    chosen, fresh = settle(shapes, pieces, folder)
    changed = Description(config, description.tokenizer, statistics, robots, description.provenance)
    return ImportPlan(Layout.OWN, changed, chosen, fresh, left_over, [], shapes)


def _with_one_head(folder: Path, config: DexVLAConfig, name: str) -> DexVLAConfig:
    if name not in config.embodiments:
        raise UserError(
            f"--only-head {name}: {folder} has no such head (allowed: {', '.join(config.embodiments) or 'none'})."
        )
    return replace(config, embodiments={name: config.embodiments[name]})


def _head(folder: Path, description: Description, request: ImportRequest) -> str:
    """The head that is meant: the one of that name, or the only one without a robot file."""
    heads = description.config.embodiments
    if request.head_name in heads:
        return request.head_name
    bare = [name for name in heads if name not in description.robots]
    if len(bare) == 1:
        return bare[0]
    raise UserError(
        f"{folder} has no head {request.head_name!r}, it has {', '.join(heads) or 'none'}, of which "
        f"{', '.join(bare) or 'none'} is without a robot file: give the name with --embodiment."
    )

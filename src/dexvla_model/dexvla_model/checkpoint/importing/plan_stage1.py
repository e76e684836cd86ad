"""The plan for a published stage-1 file, and what a backbone takes of stage 1."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

from dexvla_model.checkpoint.expert_only import ExpertOnlyConfig
from dexvla_model.checkpoint.folder import Description, read_description
from dexvla_model.checkpoint.importing.layouts import Layout, detect_layout
from dexvla_model.checkpoint.importing.pieces import Piece
from dexvla_model.checkpoint.importing.plan import (
    ImportPlan,
    ImportRequest,
    check_robot_fits,
    expected_shapes,
    settle,
)
from dexvla_model.checkpoint.importing.published_config import heads_of_size
from dexvla_model.checkpoint.importing.published_expert import PublishedExpert
from dexvla_model.checkpoint.importing.published_names import EXPERT
from dexvla_model.checkpoint.importing.published_parts import cameras_of, fresh_head, strangers
from dexvla_model.checkpoint.importing.stage1_file import EXPERT_PREFIX, Stage1File
from dexvla_model.checkpoint.tensor_files import TensorFiles
from dexvla_model.dexvla import Embodiment
from dexvla_model.errors import UserError
from dexvla_model.expert import EmbodimentConfig, ExpertConfig
from dexvla_model.normalization import Statistics
from dexvla_model.robot.description import RobotDescription
from dexvla_model.vlm.config import BackboneConfig

# What stage 2 starts anew where stage 1 has none that fits: what reads the condition, and the heads.
MAY_BE_FRESH = (f"{EXPERT}cond_obs_emb.", f"{EXPERT}combine.", f"{EXPERT}heads.")


def plan_stage1(path: Path, request: ImportRequest) -> ImportPlan:
    """A stage-1 file as an expert on its own."""
    source = Stage1File(path, request.averaged)
    expert = PublishedExpert(source, EXPERT_PREFIX)
    heads = request.attention_heads or heads_of_size(
        expert.depth, expert.width, f"{path} does not say the attention heads"
    )
    trunk = expert.trunk(heads)
    name, robot = request.head_name, request.robot
    head = expert.head(None if robot is None else len(robot.state))
    notes = []
    if head is None:
        notes.append("The file has no whole head for a robot: the expert comes without heads.")
    elif robot is not None:
        check_robot_fits(robot, head.state_size, head.action_size, path, relative=True)
    embodiments = {} if head is None else {name: Embodiment(head, cameras_of(robot))}
    config = ExpertOnlyConfig(trunk, embodiments)
    shapes = expected_shapes(config)
    pieces = expert.pieces(shapes, None if head is None else name, trunk.condition_width)
    chosen, fresh = settle(
        shapes, pieces, path, lambda target: target.startswith(MAY_BE_FRESH), lambda n: n.removeprefix(EXPERT)
    )
    notes.append(
        "This is an expert alone: join it with a backbone by `dexvla checkpoint import QWEN_FOLDER --stage1`."
    )
    robots = {} if robot is None or head is None else {name: robot}
    description = Description(config, None, {}, robots)
    return ImportPlan(Layout.STAGE1, description, chosen, fresh, strangers(chosen, source, []), notes, shapes)


@dataclass
class Stage1Expert:
    """What a backbone takes of stage 1.

    Attributes:
        trunk: sizes, for the backbone's width. embodiments: the heads.
        pieces: the tensors of a model, by name, of those names that are given.
        statistics, robots: of the heads, where stage 1 has them.
        notes: what people should know besides.
    """

    trunk: ExpertConfig
    embodiments: dict[str, Embodiment]
    pieces: Callable[[Iterable[str]], dict[str, Piece]]
    statistics: dict[str, Statistics] = field(default_factory=dict)
    robots: dict[str, RobotDescription] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def stage1_expert(stage1: Path, request: ImportRequest, backbone: BackboneConfig) -> Stage1Expert:
    """The expert of a published stage-1 file, or of a checkpoint of this project.

    Raises:
        UserError: it is neither, or lacks what no expert is without.
    """
    layout, path = detect_layout(stage1)
    if layout is Layout.OWN:
        return _own_expert(path, request, backbone)
    if layout is not Layout.STAGE1:
        raise UserError(
            f"--stage1 {stage1} is a {layout}, needed is an expert: a stage-1 file or checkpoint."
        )
    return _published_expert(path, request, backbone)


def _published_expert(path: Path, request: ImportRequest, backbone: BackboneConfig) -> Stage1Expert:
    expert = PublishedExpert(Stage1File(path, request.averaged), EXPERT_PREFIX)
    heads = request.attention_heads or heads_of_size(
        expert.depth, expert.width, f"{path} does not say the attention heads"
    )
    robot, name = request.robot, request.head_name
    head = expert.head(None if robot is None else len(robot.state))
    notes = []
    if robot is not None and (head is None or not _fits(robot, head)):
        notes.append(f"The head of {path.name} is another robot's or not whole: the head {name!r} is new.")
        embodiments, head = fresh_head(request), None
    else:
        embodiments = {} if head is None else {name: Embodiment(head, cameras_of(robot))}
    # Stage 1 embedded another condition: the published stage 2 starts this layer anew, too.
    left_out = [f"{EXPERT}cond_obs_emb."] + ([f"{EXPERT}heads."] if head is None else [])

    def pieces(names: Iterable[str]) -> dict[str, Piece]:
        targets = [n for n in names if n.startswith(EXPERT) and not n.startswith(tuple(left_out))]
        # Condition and state are told apart by the width that the file was trained with.
        width = expert.condition_width or backbone.width
        return expert.pieces(targets, None if head is None else name, width)

    return Stage1Expert(expert.trunk(heads, backbone.width), embodiments, pieces, notes=notes)


def _fits(robot: RobotDescription, head: EmbodimentConfig) -> bool:
    return (len(robot.state), len(robot.action)) == (head.state_size, head.action_size)


def _own_expert(folder: Path, request: ImportRequest, backbone: BackboneConfig) -> Stage1Expert:
    """The expert of one of this project's checkpoints, with all its heads."""
    description, files = read_description(folder), TensorFiles(folder)
    embodiments = dict(description.config.embodiments)
    notes = []
    if request.robot is not None and request.head_name not in embodiments:
        embodiments |= fresh_head(request)
        notes.append(f"{folder} has no head {request.head_name!r}: it is new.")

    def pieces(names: Iterable[str]) -> dict[str, Piece]:
        return {n: Piece(files, n) for n in names if n.startswith(EXPERT) and n in files.entries}

    return Stage1Expert(
        replace(description.config.expert, condition_width=backbone.width),
        embodiments,
        pieces,
        dict(description.statistics),
        dict(description.robots),
        notes,
    )

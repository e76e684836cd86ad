"""What a run starts from: random weights, the checkpoint of an earlier stage, or both."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from dexvla_model.carry_over import carry_over_expert
from dexvla_model.checkpoint import Checkpoint, load_checkpoint
from dexvla_model.checkpoint.kinds import EXPERT, STAGE1, kind_of
from dexvla_model.errors import UserError
from dexvla_model.training.backbones import load_backbone
from dexvla_model.training.config import TrainingConfig
from dexvla_model.training.new_action_tokens import new_action_tokens
from dexvla_model.training.new_model import new_dexvla, new_stage1
from dexvla_model.training.new_robot import with_robot
from dexvla_model.training.robots import TrainedRobot
from dexvla_model.training.stages import DEFAULTS, JOINT
from dexvla_model.vlm.config import backbone_preset


@dataclass(frozen=True)
class Start:
    """A model to begin with.

    Attributes:
        checkpoint: model, tokenizer, statistics and robot files.
        report: what was taken from where, a line each, for people.
    """

    checkpoint: Checkpoint
    report: tuple[str, ...] = ()


def stage_of(checkpoint: Checkpoint) -> int | str:
    """The stage that made a checkpoint; one that does not say it is of stage 1, or of `joint`."""
    before = 1 if kind_of(checkpoint.model.config) in (STAGE1, EXPERT) else JOINT
    return checkpoint.provenance.get("stage", before)


def load_initial(config: TrainingConfig) -> Checkpoint | None:
    """The checkpoint that the training file names, if it names one.

    Raises:
        UserError: there is none, it is damaged, or the stage cannot start from it.
    """
    allowed = DEFAULTS[config.stage].starts_from
    path = config.initial_checkpoint
    if path is None:
        if "none" not in allowed:
            raise UserError(
                f"{config.source}: initial_checkpoint is none, but stage {config.stage} goes on from a "
                f"checkpoint of stage {_listed(allowed)}: name its folder."
            )
        return None
    loaded = load_checkpoint(path)
    found = stage_of(loaded)
    if found not in allowed:
        raise UserError(
            f"{config.source}: initial_checkpoint {path} is of stage {found}, but stage {config.stage} "
            f"starts from {_listed(allowed)}: give such a checkpoint, or set stage."
        )
    if found == 1 and config.stage == 1 and kind_of(loaded.model.config) == EXPERT:
        raise UserError(
            f"{config.source}: initial_checkpoint {path} is an expert without the encoders of stage 1; give "
            "it to stage 2."
        )
    return loaded


def start_of(config: TrainingConfig, initial: Checkpoint | None, robots: Sequence[TrainedRobot]) -> Start:
    """The model that a run begins with.

    Args:
        initial: what `load_initial` gave.

    Raises:
        UserError: presets, checkpoints and robots do not fit each other.
    """
    if config.stage == 1:
        return Start(new_stage1(config.model, robots)) if initial is None else _go_on(config, initial, robots)
    expert_only = initial is not None and stage_of(initial) == 1
    if initial is not None and not expert_only:
        if config.model.vlm_checkpoint is not None:
            raise UserError(
                f"{config.source}: model.vlm_checkpoint is given, but initial_checkpoint "
                f"{config.initial_checkpoint} brings a backbone of its own: leave one of them out."
            )
        return _go_on(config, initial, robots)
    return _aligned(config, initial, robots)


def _go_on(config: TrainingConfig, initial: Checkpoint, robots: Sequence[TrainedRobot]) -> Start:
    """The initial checkpoint, with a head for each robot that has none."""
    path = config.initial_checkpoint
    report = [f"All weights of {path} are carried over."]
    for robot in robots:
        initial, added = with_robot(initial, robot.description, robot.frames, path.name)
        if added:
            report.append(f"{path} does not know {robot.embodiment}: it gets {' and '.join(added)}.")
    return Start(initial, tuple(report))


def _aligned(config: TrainingConfig, stage1: Checkpoint | None, robots: Sequence[TrainedRobot]) -> Start:
    """A backbone, a fresh fusion, and the expert of stage 1 or a fresh one."""
    model = config.model
    if model.vlm is None and model.vlm_checkpoint is None:
        raise UserError(
            f"{config.source}: stage {config.stage} attaches a vision-language model: name a preset as "
            "model.vlm, or a folder as model.vlm_checkpoint."
        )
    if model.expert is None and model.action_tokens is None and stage1 is None:
        raise UserError(
            f"{config.source}: model.expert is missing, and there is no initial_checkpoint to take the "
            "expert from: name a preset, or the checkpoint of stage 1."
        )
    backbone = None if model.vlm_checkpoint is None else load_backbone(model.vlm_checkpoint)
    report = [] if backbone is None else [f"Backbone and tokenizer are those of {model.vlm_checkpoint}."]
    if model.action_tokens is not None:
        return Start(new_action_tokens(model, robots, backbone), tuple(report))
    if stage1 is None:
        start = new_dexvla(model, robots, backbone)
        return Start(start, (*report, "The expert starts from random weights."))
    old = stage1.model.expert
    width = _width(config, backbone)
    start = new_dexvla(
        model, robots, backbone, replace(old.config, condition_width=width), stage1.statistics
    )
    carried = carry_over_expert(old, start.model.expert)
    report.append(f"Expert of {config.initial_checkpoint}: {carried}.")
    return Start(start, tuple(report))


def _width(config: TrainingConfig, backbone: Checkpoint | None) -> int:
    """Width of the backbone, which the expert's condition has."""
    if backbone is not None:
        return backbone.model.config.vlm.width
    return backbone_preset(config.model.vlm, vision=config.model.vision, text=config.model.text).width


def _listed(stages: Sequence[int | str]) -> str:
    return " or ".join(str(stage) for stage in stages if stage != "none")

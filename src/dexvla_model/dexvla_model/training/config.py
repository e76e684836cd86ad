"""The training file (config/training/*.yaml) as a dataclass, with overrides from the command line."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from dexvla_model.data.augmentation import Augmentation
from dexvla_model.errors import UserError
from dexvla_model.resources import checkpoint_folder
from dexvla_model.training.data_config import RobotChoice, read_augmentation, read_robots
from dexvla_model.training.model_config import ModelConfig, read_model
from dexvla_model.training.optimization_config import OptimizationConfig, read_optimization
from dexvla_model.training.stages import Trained, read_stage, read_train
from dexvla_model.training.validation_config import ValidationConfig, read_validation
from dexvla_model.yaml_reader import MappingReader, parse_yaml


# What stands where a sub-step is said and acted on: the demonstrator's, or the instruction, for a policy
# without reasoning.
SUB_STEPS = (DEMONSTRATED, INSTRUCTION) = ("demonstrated", "instruction")


@dataclass(frozen=True)
class LoggingConfig:
    """Intervals in steps: of log lines, and of resumable checkpoints.

    Attributes:
        tensorboard: write the log's numbers for TensorBoard, too.
    """

    log_every_steps: int
    checkpoint_every_steps: int
    tensorboard: bool = True


@dataclass(frozen=True)
class TrainingConfig:
    """Everything that one `dexvla train` does.

    Attributes:
        source: the file, for messages.
        stage: 1, 2, 3 or `joint`; see `dexvla_model.training.stages`.
        train: what of each part learns.
        robots: with the datasets of each.
        augmentation: random changes to images, or None.
        output: folder of the run (log, resumable state, final checkpoint).
        initial_checkpoint: a checkpoint folder to start from instead of random weights, or None.
        model: sizes of the model, as far as the initial checkpoint does not say them.
        validation: what is held out to measure by, or None.
        overrides: what the command line changed, for provenance.
        sub_steps: one of `SUB_STEPS`.
    """

    source: Path
    stage: int | str
    train: dict[str, Trained]
    robots: tuple[RobotChoice, ...]
    augmentation: Augmentation | None
    output: Path
    initial_checkpoint: Path | None
    model: ModelConfig
    optimization: OptimizationConfig
    logging: LoggingConfig
    validation: ValidationConfig | None = None
    overrides: tuple[str, ...] = field(default=())
    sub_steps: str = DEMONSTRATED


def load_training_config(path: Path, overrides: Sequence[str] = ()) -> TrainingConfig:
    """Read a training file.

    Args:
        overrides: texts `key.subkey=value`, the value in YAML, each replacing or adding one key.

    Raises:
        UserError: the file or an override has an error.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: the training file cannot be read ({error}); correct --config.") from error
    reader = parse_yaml(text, path)
    if overrides:
        content = yaml.safe_load(text)
        for override in overrides:
            _apply_override(content, override)
        reader = MappingReader(content, f"{path} with {', '.join(overrides)}")
    stage = read_stage(reader)
    train = read_train(reader, stage)
    initial = reader.text("initial_checkpoint", default="none")
    config = TrainingConfig(
        source=path,
        stage=stage,
        train=train,
        robots=read_robots(reader),
        augmentation=read_augmentation(reader),
        output=Path(reader.text("output")),
        initial_checkpoint=None if initial == "none" else checkpoint_folder(initial),
        model=read_model(reader.mapping("model", optional=stage == 3), stage),
        optimization=read_optimization(reader.mapping("optimization"), stage, train),
        logging=_read_logging(reader.mapping("logging")),
        validation=read_validation(reader),
        overrides=tuple(overrides),
        sub_steps=reader.text("sub_steps", allowed=SUB_STEPS, default=DEMONSTRATED),
    )
    reader.finish()
    return config


def _read_logging(reader: MappingReader) -> LoggingConfig:
    config = LoggingConfig(
        log_every_steps=reader.integer("log_every_steps", 1, 1_000_000),
        checkpoint_every_steps=reader.integer("checkpoint_every_steps", 1, 100_000_000),
        tensorboard=reader.boolean("tensorboard", default=True),
    )
    reader.finish()
    return config


def _apply_override(content: dict, override: str) -> None:
    key, separator, value = override.partition("=")
    parts = key.strip().split(".")
    if not separator or not all(parts):
        raise UserError(f"--set {override}: expected key.subkey=value, such as optimization.steps=1000.")
    for part in parts[:-1]:
        content = content.setdefault(part, {})
        if not isinstance(content, dict):
            raise UserError(
                f"--set {override}: {part} is no group of keys in the training file; correct the key."
            )
    try:
        content[parts[-1]] = yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise UserError(f"--set {override}: {value!r} is not valid YAML; quote it or correct it.") from error

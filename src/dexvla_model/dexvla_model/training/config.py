"""The training file (config/training/*.yaml) as a dataclass, with overrides from the command line."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from dexvla_model.data.augmentation import Augmentation
from dexvla_model.errors import UserError
from dexvla_model.training.data_config import RobotChoice, read_augmentation, read_robots
from dexvla_model.yaml_reader import MappingReader, parse_yaml

MIXED_PRECISIONS = ("no", "bf16")
SCHEDULES = ("cosine", "constant")


@dataclass(frozen=True)
class OptimizationConfig:
    """How the weights are fitted.

    Attributes:
        steps: optimizer steps. batch_size: frames per step.
        chunks_per_frame: chunks per frame, each at a delay of its own; they share the VLM's forward pass.
        action_samples: noise and time-step draws per chunk.
        learning_rate: peak of AdamW. muon_learning_rate: peak of Muon for hidden matrices, 0 for AdamW alone.
        warmup_steps: linear warm-up, then `schedule` (cosine to a tenth, or constant).
        language_weight, grounding_weight: of the sub-step loss and of the loss that grounds the vision tower,
            beside the action loss.
        max_delay_frames: images and sub-step are up to so many frames older than state and chunk, drawn
            evenly: at run time the reasoning is late as well.
        ema_decay: of the weights that are saved, 0 for none.
        threads: CPU threads, 0 for PyTorch's own choice.
        workers: threads that make batches ahead; 0 makes them between the steps.
    """

    steps: int
    batch_size: int
    chunks_per_frame: int
    action_samples: int
    learning_rate: float
    muon_learning_rate: float
    weight_decay: float
    warmup_steps: int
    schedule: str
    gradient_clip: float
    language_weight: float
    grounding_weight: float
    max_delay_frames: int
    ema_decay: float
    mixed_precision: str
    seed: int
    threads: int
    workers: int


@dataclass(frozen=True)
class ModelConfig:
    """Sizes of a new model, and how it samples.

    Attributes:
        sampling_noise: `noise_scale` of `SamplingConfig`.
        vlm, expert: names of presets.
        vision, text, expert_changes: fields of the presets to replace.
        vocabulary_size: of the tokenizer that is fitted to the datasets' texts.
        horizon: rows of an action chunk, where the robot's entry says nothing else; None to take it from the
            demonstrations.
    """

    vlm: str
    vision: dict[str, Any]
    text: dict[str, Any]
    expert: str
    expert_changes: dict[str, Any]
    vocabulary_size: int
    sampling_noise: float
    horizon: int | None


@dataclass(frozen=True)
class LoggingConfig:
    """Intervals in steps: of log lines, and of resumable checkpoints."""

    log_every_steps: int
    checkpoint_every_steps: int


@dataclass(frozen=True)
class TrainingConfig:
    """Everything that one `dexvla train` does.

    Attributes:
        source: the file, for messages.
        robots: with the datasets of each.
        augmentation: random changes to images, or None.
        output: folder of the run (log, resumable state, final checkpoint).
        initial_checkpoint: a checkpoint folder to start from instead of random weights, or None.
        model: sizes of the model, ignored with an initial checkpoint.
    """

    source: Path
    robots: tuple[RobotChoice, ...]
    augmentation: Augmentation | None
    output: Path
    initial_checkpoint: Path | None
    model: "ModelConfig"
    optimization: OptimizationConfig
    logging: LoggingConfig


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
    initial = reader.text("initial_checkpoint", default="none")
    config = TrainingConfig(
        source=path,
        robots=read_robots(reader),
        augmentation=read_augmentation(reader),
        output=Path(reader.text("output")),
        initial_checkpoint=None if initial == "none" else Path(initial),
        model=_read_model(reader.mapping("model")),
        optimization=_read_optimization(reader.mapping("optimization")),
        logging=_read_logging(reader.mapping("logging")),
    )
    reader.finish()
    return config


def _read_model(reader: MappingReader) -> ModelConfig:
    config = ModelConfig(
        vlm=reader.text("vlm"),
        vision=reader.mapping("vision", optional=True).all(),
        text=reader.mapping("text", optional=True).all(),
        expert=reader.text("expert"),
        expert_changes=reader.mapping("expert_changes", optional=True).all(),
        vocabulary_size=reader.integer("vocabulary_size", 300, 200_000),
        sampling_noise=reader.number("sampling_noise", 0.0, 1.0, default=1.0),
        horizon=reader.integer("horizon", 1, 1000) if reader.has("horizon") else None,
    )
    reader.finish()
    return config


def _read_optimization(reader: MappingReader) -> OptimizationConfig:
    config = OptimizationConfig(
        steps=reader.integer("steps", 1, 100_000_000),
        batch_size=reader.integer("batch_size", 1, 65536),
        chunks_per_frame=reader.integer("chunks_per_frame", 1, 64),
        action_samples=reader.integer("action_samples", 1, 1024),
        learning_rate=reader.number("learning_rate", 1e-9, 1.0),
        muon_learning_rate=reader.number("muon_learning_rate", 0.0, 1.0),
        weight_decay=reader.number("weight_decay", 0.0, 10.0),
        warmup_steps=reader.integer("warmup_steps", 0, 100_000_000),
        schedule=reader.text("schedule", allowed=SCHEDULES),
        gradient_clip=reader.number("gradient_clip", 1e-6, 1e6),
        language_weight=reader.number("language_weight", 0.0, 1e3),
        grounding_weight=reader.number("grounding_weight", 0.0, 1e3),
        max_delay_frames=reader.integer("max_delay_frames", 0, 100),
        ema_decay=reader.number("ema_decay", 0.0, 0.999999),
        mixed_precision=reader.text("mixed_precision", allowed=MIXED_PRECISIONS),
        seed=reader.integer("seed", 0, 2**31),
        threads=reader.integer("threads", 0, 1024, default=0),
        workers=reader.integer("workers", 0, 1024, default=0),
    )
    reader.finish()
    return config


def _read_logging(reader: MappingReader) -> LoggingConfig:
    config = LoggingConfig(
        log_every_steps=reader.integer("log_every_steps", 1, 1_000_000),
        checkpoint_every_steps=reader.integer("checkpoint_every_steps", 1, 100_000_000),
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
            raise UserError(f"--set {override}: {part} is no group of keys in the training file; correct the key.")
    try:
        content[parts[-1]] = yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise UserError(f"--set {override}: {value!r} is not valid YAML; quote it or correct it.") from error

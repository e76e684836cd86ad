"""The checkpoint folder, written at once or not at all.

config.json          kind, architecture, embodiments, provenance
model.safetensors    weights, float32 or bfloat16; large ones as shards with model.safetensors.index.json
statistics.json      normalisation of the embodiments
tokenizer.json, tokenizer_config.json
robots/NAME.yaml     the robot file of each embodiment, as it was in training
import.json          what an import took from where; only in an imported checkpoint

An embodiment of an imported checkpoint may be without a robot file or statistics: it cannot drive, but be
trained.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from transformers import PreTrainedTokenizerFast

from dexvla_model.checkpoint.empty_modules import parameters_on_meta
from dexvla_model.checkpoint.kinds import DEXVLA, EXPERT, config_from_json, kind_of, model_of
from dexvla_model.checkpoint.new_folder import new_folder
from dexvla_model.checkpoint.weights import load_weights, save_weights
from dexvla_model.errors import UserError
from dexvla_model.normalization import Statistics, load_statistics, save_statistics
from dexvla_model.robot.description import RobotDescription, parse_robot
from dexvla_model.vlm.tokenizer import load_tokenizer

if TYPE_CHECKING:
    from dexvla_model.dexvla import DexVLA

FORMAT = "dexvla-checkpoint"
VERSION = 1

CONFIG_FILE = "config.json"
STATISTICS_FILE = "statistics.json"
IMPORT_FILE = "import.json"


@dataclass(frozen=True)
class Description:
    """All of a checkpoint but its weights.

    Attributes:
        config: of the model: DexVLAConfig or Stage1Config.
        statistics, robots: by the embodiment's name; one of an imported checkpoint may be missing.
        provenance: where it came from, for people: command, data, steps.
    """

    config: Any
    tokenizer: PreTrainedTokenizerFast | None
    statistics: Mapping[str, Statistics]
    robots: Mapping[str, RobotDescription]
    provenance: dict[str, Any] = field(default_factory=dict)

    @property
    def kind(self) -> str:
        return kind_of(self.config)


@dataclass(frozen=True)
class Checkpoint:
    """Everything that a checkpoint folder holds.

    Attributes:
        tokenizer: of the language model or the sentence encoder; None for an expert that was imported alone.
        statistics, robots: by the embodiment's name; one of an imported checkpoint may be missing.
        provenance: where it came from, for people: command, data, steps.
    """

    model: "DexVLA"
    tokenizer: PreTrainedTokenizerFast | None
    statistics: Mapping[str, Statistics]
    robots: Mapping[str, RobotDescription]
    provenance: Mapping[str, Any] = field(default_factory=dict)


def save_checkpoint(folder: Path | str, checkpoint: Checkpoint, dtype: torch.dtype = torch.float32) -> None:
    """Write a checkpoint; a folder that stands there already is replaced once the new one is complete.

    Args:
        dtype: of the stored weights; bfloat16 halves the file.

    Raises:
        UserError: the folder exists and is not a checkpoint, or cannot be written.
    """
    description = Description(
        checkpoint.model.config,
        checkpoint.tokenizer,
        checkpoint.statistics,
        checkpoint.robots,
        dict(checkpoint.provenance),
    )
    with new_folder(Path(folder), CONFIG_FILE) as temporary:
        write_description(temporary, description)
        save_weights(temporary, checkpoint.model, dtype)


def write_description(folder: Path, description: Description) -> None:
    """Write all files but the weights into an empty folder."""
    robots = {}
    (folder / "robots").mkdir()
    for embodiment, robot in description.robots.items():
        robots[embodiment] = f"robots/{robot.name}.yaml"
        (folder / robots[embodiment]).write_text(robot.text, encoding="utf-8")
    config = {
        "format": FORMAT,
        "version": VERSION,
        "kind": description.kind,
        "model": description.config.to_json(),
        "robots": robots,
        "provenance": dict(description.provenance),
    }
    (folder / CONFIG_FILE).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    save_statistics(folder / STATISTICS_FILE, description.statistics)
    if description.tokenizer is not None:
        description.tokenizer.save_pretrained(folder)


def load_checkpoint(
    folder: Path | str, dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu"
) -> Checkpoint:
    """Read a checkpoint folder; weights that are stored as `dtype` stay in the file, mapped, until they are
    used.

    Raises:
        UserError: naming the file, and the key or tensor, that is missing, unknown or does not fit.
    """
    folder = Path(folder)
    description = read_description(folder)
    with parameters_on_meta():
        model = model_of(description.config)
    load_weights(folder, model, dtype, device)
    return Checkpoint(
        model.eval(),
        description.tokenizer,
        description.statistics,
        description.robots,
        description.provenance,
    )


def read_description(folder: Path) -> Description:
    """Read all files of a checkpoint but the weights. Raises UserError as `load_checkpoint` does."""
    config = read_config(folder)
    kind = config.get("kind", DEXVLA)
    model_config = config_from_json(kind, config["model"], f"{folder / CONFIG_FILE}: model")
    robots = {}
    for embodiment in model_config.embodiments:
        if embodiment in config["robots"]:
            robots[embodiment] = parse_robot(*_robot_text(folder, config, embodiment))
    statistics = load_statistics(folder / STATISTICS_FILE)
    for name, embodiment in model_config.embodiments.items():
        if name in statistics:
            _check_sizes(
                folder, name, statistics[name], embodiment.head.state_size, embodiment.head.action_size
            )
    tokenizer = None if kind == EXPERT else load_tokenizer(folder)
    return Description(model_config, tokenizer, statistics, robots, config["provenance"])


def read_config(folder: Path) -> dict[str, Any]:
    """The parsed config.json of a checkpoint. Raises UserError when it is not one of this format."""
    path = folder / CONFIG_FILE
    if not folder.is_dir():
        raise UserError(f"there is no checkpoint folder {folder}: check the path.")
    if not path.is_file():
        raise UserError(f"{path} is missing: {folder} is not a checkpoint.")
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read ({error}): restore the checkpoint.") from error
    found = config.get("format") if isinstance(config, dict) else None
    if found != FORMAT:
        raise UserError(
            f"{path}: format is {found!r}, needed is {FORMAT!r}: give a checkpoint made by this project, or "
            "bring "
            "a published one into it with `dexvla checkpoint import`."
        )
    if config.get("version") != VERSION:
        raise UserError(f"{path}: version is {config.get('version')!r}, this program reads {VERSION}.")
    for key in ("model", "robots", "provenance"):
        if not isinstance(config.get(key), dict):
            raise UserError(f"{path}: key {key!r} is missing or not a table: restore the checkpoint.")
    return config


def _robot_text(folder: Path, config: Mapping[str, Any], embodiment: str) -> tuple[str, Path]:
    relative = config["robots"].get(embodiment)
    path = folder / str(relative)
    if not path.is_file():
        raise UserError(
            f"{folder / CONFIG_FILE}: robots.{embodiment} is {relative!r}, no file of the checkpoint."
        )
    return path.read_text(encoding="utf-8"), path


def _check_sizes(folder: Path, name: str, statistics: Statistics, state_size: int, action_size: int) -> None:
    sizes = len(statistics.state_mean), len(statistics.action_min)
    if sizes != (state_size, action_size):
        raise UserError(
            f"{folder / STATISTICS_FILE}: {name} has {sizes[0]} states and {sizes[1]} actions, the model's "
            "head has "
            f"{state_size} and {action_size}: restore the checkpoint."
        )

"""The checkpoint folder, written at once or not at all.

config.json          architecture, embodiments, provenance
model.safetensors    weights, float32 or bfloat16
statistics.json      normalisation of every embodiment
tokenizer.json, tokenizer_config.json
robots/NAME.yaml     the robot file of every embodiment, as it was in training
"""

import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedTokenizerFast

from dexvla_model.checkpoint.weights import load_weights, save_weights
from dexvla_model.dexvla import DexVLA, DexVLAConfig
from dexvla_model.errors import UserError
from dexvla_model.normalization import Statistics, load_statistics, save_statistics
from dexvla_model.robot.description import RobotDescription, parse_robot
from dexvla_model.vlm.tokenizer import load_tokenizer

FORMAT = "dexvla-checkpoint"
VERSION = 1

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"
STATISTICS_FILE = "statistics.json"


@dataclass(frozen=True)
class Checkpoint:
    """Everything that a checkpoint folder holds.

    Attributes:
        statistics, robots: one for each embodiment, by the embodiment's name.
        provenance: where it came from, for people: command, data, steps.
    """

    model: DexVLA
    tokenizer: PreTrainedTokenizerFast
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
    folder = Path(folder)
    if folder.exists() and any(folder.iterdir()) and not (folder / CONFIG_FILE).is_file():
        raise UserError(f"{folder} exists and is not a checkpoint: choose another folder.")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    except OSError as error:
        raise UserError(f"{folder} cannot be written ({error}): choose another folder.") from error
    try:
        _write(temporary, checkpoint, dtype)
        # mkdtemp makes a private folder; a checkpoint is as readable as any other.
        temporary.chmod(0o755)
        _replace(folder, temporary)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _write(folder: Path, checkpoint: Checkpoint, dtype: torch.dtype) -> None:
    robots = {}
    (folder / "robots").mkdir()
    for embodiment, robot in checkpoint.robots.items():
        robots[embodiment] = f"robots/{robot.name}.yaml"
        (folder / robots[embodiment]).write_text(robot.text, encoding="utf-8")
    config = {
        "format": FORMAT,
        "version": VERSION,
        "model": checkpoint.model.config.to_json(),
        "robots": robots,
        "provenance": dict(checkpoint.provenance),
    }
    (folder / CONFIG_FILE).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    save_statistics(folder / STATISTICS_FILE, checkpoint.statistics)
    checkpoint.tokenizer.save_pretrained(folder)
    save_weights(folder / WEIGHTS_FILE, checkpoint.model, dtype)


def _replace(folder: Path, complete: Path) -> None:
    """Put the complete folder in the place of the old one, which is removed only after that."""
    if not folder.exists():
        os.rename(complete, folder)
        return
    old = Path(tempfile.mkdtemp(prefix=f".{folder.name}.old.", dir=folder.parent))
    try:
        os.rename(folder, old / folder.name)
        os.rename(complete, folder)
    finally:
        shutil.rmtree(old, ignore_errors=True)


def load_checkpoint(folder: Path | str) -> Checkpoint:
    """Read a checkpoint folder; weights come as float32 on the CPU.

    Raises:
        UserError: naming the file, and the key or tensor, that is missing, unknown or does not fit.
    """
    folder = Path(folder)
    config = read_config(folder)
    where = str(folder / CONFIG_FILE)
    model_config = DexVLAConfig.from_json(config["model"], f"{where}: model")
    robots = {}
    for embodiment in model_config.embodiments:
        robots[embodiment] = parse_robot(*_robot_text(folder, config, embodiment))
    statistics = load_statistics(folder / STATISTICS_FILE)
    for name, embodiment in model_config.embodiments.items():
        _check_statistics(folder, name, statistics, embodiment.head.state_size, embodiment.head.action_size)
    tokenizer = load_tokenizer(folder)
    model = DexVLA(model_config)
    load_weights(folder / WEIGHTS_FILE, model)
    return Checkpoint(model.eval(), tokenizer, statistics, robots, config["provenance"])


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
            f"{path}: format is {found!r}, needed is {FORMAT!r}: give a checkpoint made by this project."
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
    if relative is None or not path.is_file():
        raise UserError(
            f"{folder / CONFIG_FILE}: robots.{embodiment} is {relative!r}, no file of the checkpoint."
        )
    return path.read_text(encoding="utf-8"), path


def _check_statistics(
    folder: Path, name: str, statistics: Mapping[str, Statistics], state_size: int, action_size: int
) -> None:
    path = folder / STATISTICS_FILE
    if name not in statistics:
        raise UserError(f"{path}: embodiment {name!r} is missing: restore the checkpoint.")
    sizes = len(statistics[name].state_mean), len(statistics[name].action_min)
    if sizes != (state_size, action_size):
        raise UserError(
            f"{path}: {name} has {sizes[0]} states and {sizes[1]} actions, the model's head has "
            f"{state_size} and {action_size}: restore the checkpoint."
        )

"""An experiment's file (config/experiments/*.yaml) as the `dexvla` commands that it stands for."""

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from dexvla_model.errors import UserError
from dexvla_model.resources import find_resource, list_resources
from dexvla_model.yaml_reader import MappingReader, parse_yaml

FOLDER = "config/experiments"
# A scaled-down experiment still needs something to train on and to take a mean of.
_FEWEST = 2


@dataclass(frozen=True)
class Step:
    """One command of an experiment.

    Attributes:
        arguments: of `dexvla`.
        file: that the command reads and that has to be written before, with its text; or None.
        reads: text of the file in the repository that decides what the command does, "" if there is none.
    """

    arguments: tuple[str, ...]
    file: tuple[Path, str] | None = None
    reads: str = ""


@dataclass(frozen=True)
class Experiment:
    """Steps in their order; later ones read what earlier ones wrote. `folder` holds it all."""

    title: str
    folder: Path
    steps: tuple[Step, ...]


def load_experiment(name: str, scale: float = 1.0, folder: Path | None = None) -> Experiment:
    """Read an experiment.

    In its texts {out} stands for the experiment's folder and {data} for the folder of the datasets, which
    experiments share.

    Args:
        name: of a file in config/experiments, or the path of one.
        scale: share of the episodes and training steps, for a trial; below 1 everything, datasets too, goes
            to a folder of its own.
        folder: instead of outputs/experiments/NAME.

    Raises:
        UserError: there is no such experiment, or its file is wrong.
    """
    path = _find(name)
    try:
        reader = parse_yaml(path.read_text(), path)
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not readable ({error}); give an experiment's YAML file.") from error
    trial = "" if scale == 1.0 else f"_scale_{scale:g}"
    out = folder or Path("outputs", "experiments", path.stem + trial)
    data = Path("data") if scale == 1.0 else out / "data"
    title = reader.text("title")
    about = reader.text("about", default="-")
    steps = []
    for index, entry in enumerate(reader.mappings("steps")):
        kinds = [kind for kind in _KINDS if entry.has(kind)]
        if len(kinds) != 1:
            raise UserError(f"{path}: {entry.key('')}needs exactly one of the keys {', '.join(_KINDS)}.")
        content = MappingReader(_filled(entry.take(kinds[0]), out, data), path, entry.key(kinds[0]))
        entry.finish()
        steps.append(_KINDS[kinds[0]](content, _Context(title, about, out, index, scale)))
        content.finish()
    reader.finish()
    return Experiment(title, out, tuple(steps))


@dataclass(frozen=True)
class _Context:
    title: str
    about: str
    out: Path
    index: int
    scale: float

    def scaled(self, count: int) -> int:
        """A number of episodes or steps for this scale."""
        return max(min(_FEWEST, count), math.ceil(count * self.scale))


def _find(name: str) -> Path:
    if Path(name).is_file():
        return Path(name)
    known = list_resources(FOLDER, ".yaml")
    if name not in known:
        raise UserError(
            f"There is no experiment {name!r} (in {FOLDER}: {', '.join(known)}); name one, or give a file."
        )
    return find_resource(f"{FOLDER}/{name}.yaml")


def _filled(value: Any, out: Path, data: Path) -> Any:
    """`value` with the folders put into its texts, however deep."""
    if isinstance(value, str):
        return value.replace("{out}", str(out)).replace("{data}", str(data))
    if isinstance(value, list):
        return [_filled(entry, out, data) for entry in value]
    if isinstance(value, dict):
        return {key: _filled(entry, out, data) for key, entry in value.items()}
    return value


def _demonstrate(reader: MappingReader, context: _Context) -> Step:
    """Every key is an option of `dexvla demonstrate`."""
    reader.text("out")
    episodes = context.scaled(reader.integer("episodes", 1, 10**9))
    arguments = ["demonstrate"]
    for key, value in {**reader.all(), "episodes": episodes}.items():
        option = key.replace("_", "-")
        if isinstance(value, bool):
            arguments.append(f"--{option}" if value else f"--no-{option}")
        else:
            arguments += [f"--{option}", str(value)]
    return Step(tuple(arguments))


def _train(reader: MappingReader, context: _Context) -> Step:
    config = reader.text("config")
    path = Path(config) if Path(config).is_file() else find_resource(config)
    changes = reader.mapping("set").all()
    for key in ("output", "optimization.steps"):
        if key not in changes:
            raise UserError(f"{reader.key('set')} of an experiment lacks {key}; add it.")
    for key in ("optimization.steps", "optimization.warmup_steps"):
        if key in changes:
            changes[key] = context.scaled(changes[key])
    arguments = ["train", "--config", str(path)]
    for key, value in changes.items():
        # JSON is YAML on one line.
        text = value if isinstance(value, str) else json.dumps(value)
        arguments += ["--set", f"{key}={text}"]
    return Step(tuple(arguments), reads=path.read_text())


def _evaluate(reader: MappingReader, context: _Context) -> Step:
    """A suite, written to a file of its own: it names the checkpoints of this experiment."""
    content = (
        {"title": context.title} | ({} if context.about == "-" else {"about": context.about}) | reader.all()
    )
    content["episodes"] = context.scaled(content.get("episodes", 100))
    for entry in content.get("entries", ()):
        if isinstance(entry, dict) and "episodes" in entry:
            entry["episodes"] = context.scaled(entry["episodes"])
    name = content.pop("name", "results")
    file = context.out / f"{name}.yaml"
    arguments = ("eval", "suite", "--config", str(file), "--out", str(context.out / name))
    return Step(arguments, file=(file, yaml.safe_dump(content, sort_keys=False, width=110)))


_KINDS: dict[str, Callable[[MappingReader, _Context], Step]] = {
    "demonstrate": _demonstrate,
    "train": _train,
    "evaluate": _evaluate,
}

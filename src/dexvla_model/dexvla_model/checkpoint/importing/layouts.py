"""Which layout a checkpoint on disk has."""

import json
from enum import StrEnum
from pathlib import Path
from typing import Any

from dexvla_model.checkpoint.folder import CONFIG_FILE, FORMAT
from dexvla_model.checkpoint.tensor_files import INDEX_FILE, SINGLE_FILE
from dexvla_model.errors import UserError
from dexvla_model.vlm.families import FAMILIES

# Of the published config.json; transformers' names of the plain backbones.
DEXVLA_MODEL_TYPE = "qwen2_vla"
_STAGE1_SUFFIXES = (".ckpt", ".pt", ".pth", ".bin")


class Layout(StrEnum):
    """What stands at a path; the value is what people read."""

    OWN = "checkpoint of this project"
    DEXVLA = "published DexVLA folder"
    QWEN = "Qwen-VL folder"
    STAGE1 = "published stage-1 file"


def detect_layout(path: Path) -> tuple[Layout, Path]:
    """The layout of what stands at `path`, and the folder or file itself.

    A folder that holds one stage-1 file is taken for that file.

    Raises:
        UserError: nothing is there, or nothing that is known; says what was found and what is allowed.
    """
    if path.is_file():
        if path.suffix in _STAGE1_SUFFIXES:
            return Layout.STAGE1, path
        raise UserError(
            f"{path}: a file that ends in {path.suffix!r} is no checkpoint, allowed are folders and files "
            "that end in "
            f"{', '.join(_STAGE1_SUFFIXES)}."
        )
    if not path.is_dir():
        raise UserError(f"there is no checkpoint {path}: check the path.")
    if (path / "adapter_config.json").is_file():
        raise UserError(
            f"{path} holds a LoRA adapter (adapter_config.json), which is no whole model: merge it into its "
            "base model "
            "first and give that folder."
        )
    if not (path / CONFIG_FILE).is_file():
        return _lone_file(path)
    config = read_json(path / CONFIG_FILE)
    if config.get("format") == FORMAT:
        return Layout.OWN, path
    found = config.get("model_type")
    if found == DEXVLA_MODEL_TYPE:
        return Layout.DEXVLA, path
    if found in FAMILIES:
        # The published code has people rename the type, not all did.
        return (Layout.DEXVLA if "policy_head_type" in config and _has_head(path) else Layout.QWEN), path
    raise UserError(
        f"{path / CONFIG_FILE}: model_type is {found!r}, allowed are {DEXVLA_MODEL_TYPE}, "
        f"{', '.join(FAMILIES)}, and "
        f"checkpoints of this project, whose format is {FORMAT!r}."
    )


def _lone_file(folder: Path) -> tuple[Layout, Path]:
    candidates = sorted(path for path in folder.iterdir() if path.suffix in _STAGE1_SUFFIXES)
    if len(candidates) == 1:
        return Layout.STAGE1, candidates[0]
    if candidates:
        names = ", ".join(path.name for path in candidates)
        raise UserError(f"{folder} holds {len(candidates)} files of weights ({names}): give the path of one.")
    raise UserError(
        f"{folder} is no checkpoint that is known: it has neither {CONFIG_FILE} nor a file that ends in "
        f"{', '.join(_STAGE1_SUFFIXES)}."
    )


def _has_head(folder: Path) -> bool:
    if not (folder / INDEX_FILE).is_file():
        return (folder / SINGLE_FILE).is_file()
    return '"policy_head.' in (folder / INDEX_FILE).read_text(encoding="utf-8")


def read_json(path: Path) -> dict[str, Any]:
    """A JSON file that holds a table. Raises UserError when it does not."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read ({error}): restore the file.") from error
    if not isinstance(content, dict):
        raise UserError(f"{path} holds no table of keys: restore the file.")
    return content

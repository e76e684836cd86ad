"""Where the files that are not Python live: config/, urdf/ and checkpoints/.

In a source tree (editable install) they stand at the top of the repository; after `colcon build` in
`share/dexvla_ros` of the prefix that AMENT_PREFIX_PATH names.
"""

import os
from collections.abc import Iterator
from pathlib import Path

from dexvla_model.errors import UserError

_RESOURCE_FOLDERS = ("config", "urdf")


def resource_roots() -> Iterator[Path]:
    """Folders that may hold `config/`, `urdf/` and `checkpoints/`, the nearest first."""
    for parent in Path(__file__).resolve().parents:
        if all((parent / folder).is_dir() for folder in _RESOURCE_FOLDERS):
            yield parent
    for prefix in os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep):
        share = Path(prefix, "share", "dexvla_ros")
        if prefix and share.is_dir():
            yield share


def find_resource(relative: str | Path) -> Path:
    """Absolute path of `relative` (such as `config/robots/ur5e.yaml`).

    Raises:
        UserError: no root holds it.
    """
    searched = []
    for root in resource_roots():
        if (root / relative).exists():
            return root / relative
        searched.append(str(root))
    raise UserError(
        f"{relative} was not found below {' or '.join(searched) or 'any source tree or AMENT_PREFIX_PATH'}; "
        "run from a checkout or source the workspace that holds dexvla_ros."
    )


def list_resources(folder: str, suffix: str = "") -> list[str]:
    """Names (without `suffix`) of what stands in `folder` of any root, sorted, for messages such as 'allowed: …'."""
    names = set()
    for root in resource_roots():
        for path in (root / folder).glob(f"*{suffix}"):
            names.add(path.name.removesuffix(suffix))
    return sorted(names)


def list_checkpoints() -> list[str]:
    """Names of the checkpoints that ship, sorted."""
    return [name for name in list_resources("checkpoints") if find_resource(f"checkpoints/{name}").is_dir()]


def checkpoint_folder(name: str) -> Path:
    """The folder that is meant by a path, or by the name of a checkpoint that ships; a folder of that path comes first.

    Neither has to exist: what loads it says what is wrong with it.
    """
    if not Path(name).is_dir() and name in list_checkpoints():
        return find_resource(f"checkpoints/{name}")
    return Path(name)


def checkpoint_name(folder: Path) -> str:
    """The inverse of `checkpoint_folder`: the name of one that ships, the path of any other."""
    ships = folder.name in list_checkpoints() and folder.resolve() == find_resource(f"checkpoints/{folder.name}").resolve()
    return folder.name if ships else str(folder)

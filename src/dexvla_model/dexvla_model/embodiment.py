"""An embodiment as a model knows it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dexvla_model.errors import UserError
from dexvla_model.expert import EmbodimentConfig
from dexvla_model.json_fields import table_of, take_fields
from dexvla_model.vlm.images import ImageSize


@dataclass(frozen=True)
class Embodiment:
    """What the model has to know of one embodiment: its head's shape and its cameras.

    Attributes:
        head: sizes of state, action and chunk.
        cameras: size at which the model sees each camera by role, in the order in which the model takes them.
    """

    head: EmbodimentConfig
    cameras: dict[str, ImageSize]


def embodiments_from_json(values: Any, where: str) -> dict[str, Embodiment]:
    """Embodiments by name, from what `asdict` made of them. Raises UserError naming the key."""
    embodiments = {}
    for name, entry in table_of(values, where).items():
        key = f"{where}.{name}"
        parts = take_fields(Embodiment, entry, key)
        cameras = {
            role: ImageSize(**take_fields(ImageSize, size, f"{key}.cameras.{role}"))
            for role, size in table_of(parts["cameras"], f"{key}.cameras").items()
        }
        head = EmbodimentConfig(**take_fields(EmbodimentConfig, parts["head"], f"{key}.head"))
        embodiments[name] = Embodiment(head, cameras)
    return embodiments


def embodiment_named(name: str, embodiments: Mapping[str, Embodiment]) -> Embodiment:
    """The embodiment of that name. Raises UserError when the model has none."""
    if name not in embodiments:
        known = ", ".join(sorted(embodiments)) or "none"
        raise UserError(f"the policy has no embodiment {name!r}, it has: {known}.")
    return embodiments[name]

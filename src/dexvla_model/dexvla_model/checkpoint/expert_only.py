"""An expert on its own, as the published stage 1 gives it: to be attached to a backbone, not to drive."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from torch import nn

from dexvla_model.embodiment import Embodiment, embodiments_from_json
from dexvla_model.expert import ExpertConfig, expert_config_from_json, expert_from_config
from dexvla_model.json_fields import take_fields


@dataclass(frozen=True)
class ExpertOnlyConfig:
    """Sizes of an expert that has no backbone yet.

    Attributes:
        expert: the trunk.
        embodiments: one for each head, by name; their cameras may be unknown.
    """

    expert: ExpertConfig
    embodiments: dict[str, Embodiment] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """As plain dictionaries and numbers."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any], where: str) -> "ExpertOnlyConfig":
        """The inverse of `to_json`; `where` names the file in errors. Raises UserError naming the key."""
        top = take_fields(cls, values, where)
        top["expert"] = expert_config_from_json(top["expert"], f"{where}: expert")
        top["embodiments"] = embodiments_from_json(top.get("embodiments", {}), f"{where}: embodiments")
        return cls(**top)


class ExpertOnly(nn.Module):
    """The expert, under the name that it has in every model."""

    def __init__(self, config: ExpertOnlyConfig) -> None:
        super().__init__()
        self.config = config
        heads = {name: embodiment.head for name, embodiment in config.embodiments.items()}
        self.expert = expert_from_config(config.expert, heads)

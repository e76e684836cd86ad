"""Taking an expert that one stage trained over into the model of the next stage."""

from collections.abc import Iterable
from dataclasses import dataclass, fields

import torch

from dexvla_model.errors import UserError
from dexvla_model.expert.interface import ActionExpert


@dataclass(frozen=True)
class CarriedOver:
    """What became of an expert's tensors, by their names in it.

    Attributes:
        carried: taken over, bit for bit.
        initialised: not taken over because shapes differ, or new: they stay as the new model has them.
        left: in the old expert only, such as heads of robots that the new model does not have.
    """

    carried: tuple[str, ...]
    initialised: tuple[str, ...]
    left: tuple[str, ...]

    def __str__(self) -> str:
        parts = [f"{len(self.carried)} tensors carried over"]
        for names, what in ((self.initialised, "freshly initialised"), (self.left, "left behind")):
            if names:
                parts.append(f"{what}: {', '.join(_shortened(names))}")
        return "; ".join(parts)


def _shortened(names: Iterable[str]) -> list[str]:
    """Names of tensors, those of a robot's head as one."""
    heads = (".".join(name.split(".")[:2]) if name.startswith("heads.") else name for name in names)
    return list(dict.fromkeys(heads))


@torch.no_grad()
def carry_over_expert(old: ActionExpert, new: ActionExpert) -> CarriedOver:
    """Fill `new` with what fits of `old`: the trunk, and the heads of robots that both have.

    With another condition width only what reads or writes the condition stays as `new` has it: in ScaleDP
    `combine.condition_in`, `combine.out` and `cond_obs_emb`; in the U-Net, whose modulations read the
    condition directly, all of those and the heads' `state_in`. A head's numbers mean something only under
    the statistics that it was trained with: give the new model those as well.

    Raises:
        UserError: the experts are of different kinds or sizes, or a robot that both have differs in the size
            of its state, action or chunk.
    """
    if type(old) is not type(new):
        raise UserError(
            f"the expert of the earlier stage is a {type(old).__name__}, the new one a {type(new).__name__}: "
            "choose the same."
        )
    for field in fields(old.config):
        before, after = getattr(old.config, field.name), getattr(new.config, field.name)
        if field.name != "condition_width" and before != after:
            raise UserError(
                f"expert.{field.name} is {after}, the expert of the earlier stage has {before}: "
                "choose the same."
            )
    for name, head in new.embodiments.items():
        before = old.embodiments.get(name, head)
        if before != head:
            raise UserError(
                f"the head of {name!r} is {head}, the earlier stage's is {before}: "
                "choose the same sizes, or another name for the new robot."
            )
    source, target = old.state_dict(), new.state_dict(keep_vars=True)
    carried, initialised = [], []
    for name, tensor in target.items():
        fits = name in source and source[name].shape == tensor.shape
        (carried if fits else initialised).append(name)
        if fits:
            tensor.copy_(source[name])
    return CarriedOver(tuple(carried), tuple(initialised), tuple(sorted(set(source) - set(target))))

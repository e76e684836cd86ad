"""Weights under the parameter names of the published DexVLA code.

`expert_from_official` and `fusion_from_official` rebuild the two parts from such a state dict;
`expert_state_dict` is the conversion itself, which an importer of whole checkpoints shares.
"""

from collections.abc import Mapping

import torch
from torch import nn

from dexvla_model.errors import UserError
from dexvla_model.expert import EmbodimentConfig, ScaleDP, ScaleDPConfig, Sampler, diffusion_loss
from dexvla_model.expert.checks import require_finite
from dexvla_model.fusion import Fusion

EMBODIMENT = "official"

_TRUNK = {
    "combine.2.weight": "combine.hidden.weight",
    "combine.2.bias": "combine.hidden.bias",
    "combine.4.weight": "combine.out.weight",
    "combine.4.bias": "combine.out.bias",
    "combine.0.bias": "combine.condition_in.bias",
    "final_layer.adaLN_modulation.1.weight": "final_norm.adaLN_modulation.1.weight",
    "final_layer.adaLN_modulation.1.bias": "final_norm.adaLN_modulation.1.bias",
}
_HEAD = {
    "x_embedder.weight": "action_in.weight",
    "x_embedder.bias": "action_in.bias",
    "pos_embed": "pos_embed",
    "final_layer.linear.weight": "action_out.weight",
    "final_layer.linear.bias": "action_out.bias",
}
_UNCHANGED = ("blocks.", "t_embedder.", "cond_obs_emb.")


def expert_config(
    state_dict: Mapping[str, torch.Tensor], *, prediction_horizon: int, num_heads: int
) -> tuple[ScaleDPConfig, EmbodimentConfig]:
    """The sizes of a published expert, read off its tensors. Raises UserError naming a missing one."""
    x_in, combine_in, condition_out = (
        _tensor(state_dict, key) for key in ("x_embedder.weight", "combine.0.weight", "combine.4.weight")
    )
    time_in, fc1 = (
        _tensor(state_dict, key) for key in ("t_embedder.mlp.0.weight", "blocks.0.mlp.fc1.weight")
    )
    width, condition_width = x_in.shape[0], condition_out.shape[0]
    depth = 1 + max(int(key.split(".")[1]) for key in state_dict if key.startswith("blocks."))
    trunk = ScaleDPConfig(
        depth=depth,
        width=width,
        heads=num_heads,
        condition_width=condition_width,
        combine_width=combine_in.shape[0],
        mlp_ratio=fc1.shape[0] // width,
        time_frequency_size=time_in.shape[1],
    )
    state_size = combine_in.shape[1] - condition_width
    return trunk, EmbodimentConfig(state_size, x_in.shape[1], prediction_horizon)


def expert_state_dict(
    state_dict: Mapping[str, torch.Tensor], embodiment: str, condition_width: int
) -> dict[str, torch.Tensor]:
    """Published names -> names of `ScaleDP` with a head `embodiment`. Raises UserError for an unknown one."""
    head = f"heads.{embodiment}."
    renamed = {}
    for key, tensor in state_dict.items():
        if key in _TRUNK:
            renamed[_TRUNK[key]] = tensor
        elif key in _HEAD:
            renamed[head + _HEAD[key]] = tensor
        elif key == "combine.0.weight":
            # The input is concat(condition, state): the two parts of the Linear belong to trunk and head.
            renamed["combine.condition_in.weight"] = tensor[:, :condition_width]
            renamed[head + "state_in.weight"] = tensor[:, condition_width:]
        elif key.startswith(_UNCHANGED):
            renamed[key] = tensor
        else:
            raise UserError(f"tensor {key!r} is not part of a published ScaleDP expert: remove it.")
    return renamed


def published_expert_name(name: str, embodiment: str, condition_width: int) -> tuple[str, slice | None]:
    """The inverse of `expert_state_dict`, for one tensor of `ScaleDP` with a head `embodiment`.

    Returns:
        its published name, and the columns that it is of it where it is a part.
    """
    head = f"heads.{embodiment}."
    if name == "combine.condition_in.weight":
        return "combine.0.weight", slice(0, condition_width)
    if name == f"{head}state_in.weight":
        return "combine.0.weight", slice(condition_width, None)
    published = {ours: key for key, ours in _TRUNK.items()} | {head + ours: key for key, ours in _HEAD.items()}
    return published.get(name, name), None


class OfficialExpert(nn.Module):
    """A ScaleDP with a single head, called without naming the embodiment."""

    def __init__(self, expert: ScaleDP) -> None:
        super().__init__()
        self.expert = expert

    def predict_noise(
        self, x: torch.Tensor, t: torch.Tensor, condition: torch.Tensor, state: torch.Tensor
    ) -> torch.Tensor:
        """Predicted noise (B, T, A) for noisy rows x at steps t (B,).

        Raises:
            UserError: a tensor does not fit the expert or the others, or is not finite.
        """
        require_finite(x=x, condition=condition, state=state)
        return self.expert(x, t, condition, state, EMBODIMENT)

    @torch.no_grad()
    def sample(
        self,
        condition: torch.Tensor,
        state: torch.Tensor,
        noise: torch.Tensor | None = None,
        prefix: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Chunks (B, T, A), normalised, by 10 DDIM steps that start from `noise`.

        Raises:
            UserError: a tensor does not fit the expert or the others, or is not finite.
        """
        require_finite(condition=condition, state=state, noise=noise, prefix=prefix)
        return Sampler(self.expert).sample(condition, state, EMBODIMENT, noise=noise, prefix=prefix)

    def loss(
        self,
        actions: torch.Tensor,
        condition: torch.Tensor,
        state: torch.Tensor,
        is_pad: torch.Tensor | None = None,
        noise: torch.Tensor | None = None,
        t: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """The published training loss, a scalar.

        Raises:
            UserError: a tensor does not fit the expert or the others, or is not finite.
        """
        require_finite(actions=actions, condition=condition, state=state, noise=noise)
        return diffusion_loss(
            self.expert, actions, condition, state, EMBODIMENT, is_pad=is_pad, noise=noise, t=t
        )


def expert_from_official(
    state_dict: Mapping[str, torch.Tensor], *, prediction_horizon: int, num_heads: int
) -> OfficialExpert:
    """An expert with the published weights. Raises UserError naming a tensor that does not fit."""
    trunk, embodiment = expert_config(state_dict, prediction_horizon=prediction_horizon, num_heads=num_heads)
    with torch.device("meta"):
        expert = ScaleDP(trunk, {EMBODIMENT: embodiment})
    _load(expert, expert_state_dict(state_dict, EMBODIMENT, trunk.condition_width), "expert")
    return OfficialExpert(expert).eval()


def fusion_from_official(state_dict: Mapping[str, torch.Tensor]) -> Fusion:
    """A fusion with the published weights. Raises UserError naming a tensor that does not fit."""
    with torch.device("meta"):
        fusion = Fusion(_tensor(state_dict, "reasoning_film.scale_fc.weight").shape[0])
    _load(fusion, state_dict, "fusion")
    return fusion.eval()


def _tensor(state_dict: Mapping[str, torch.Tensor], key: str) -> torch.Tensor:
    if key not in state_dict:
        raise UserError(
            f"tensor {key!r} is missing from the state dict: pass weights under the published names."
        )
    return state_dict[key]


def _load(module: nn.Module, state_dict: Mapping[str, torch.Tensor], part: str) -> None:
    """Fill a module that was made on the meta device, in float32 on the CPU."""
    expected = module.state_dict()
    for key, tensor in expected.items():
        found = state_dict.get(key)
        if found is None:
            raise UserError(f"the {part}'s tensor {key!r} is missing from the state dict.")
        if found.shape != tensor.shape:
            raise UserError(
                f"the {part}'s tensor {key!r} has shape {tuple(found.shape)}, expected {tuple(tensor.shape)}."
            )
        require_finite(**{f"the {part}'s tensor {key!r}": found})
    unknown = sorted(set(state_dict) - set(expected))
    if unknown:
        raise UserError(f"the state dict holds {unknown[0]!r}, which is not part of the {part}.")
    module.to_empty(device="cpu")
    module.load_state_dict(dict(state_dict))

"""What a published config.json says of the architecture; sizes that tensors show are read off the tensors."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerFast

from dexvla_model.checkpoint.importing.layouts import DEXVLA_MODEL_TYPE, read_json
from dexvla_model.errors import UserError
from dexvla_model.expert import SCALEDP_PRESETS
from dexvla_model.vlm.config import BackboneConfig
from dexvla_model.vlm.families import FAMILIES
from dexvla_model.vlm.presets import BACKBONE_PRESETS
from dexvla_model.vlm.tokenizer import special_token_ids

# Published names of the expert's sizes, of which `policy_head_size` is one.
POLICY_HEAD_SIZES = {"ScaleDP_H": "scaledp-h", "ScaleDP_L": "scaledp-l"}
# Fields that are written down only where they differ from transformers' defaults.
_OPTIONAL = ("hidden_act", "initializer_range", "attention_bias")


@dataclass(frozen=True)
class PublishedConfig:
    """A published config.json."""

    path: Path
    values: Mapping[str, Any]

    @classmethod
    def read(cls, folder: Path) -> "PublishedConfig":
        return cls(folder / "config.json", read_json(folder / "config.json"))

    @property
    def head_type(self) -> str:
        """Kind of the expert: `scale_dp_policy` or `unet_diffusion_policy`."""
        return str(self.values.get("policy_head_type", self._head.get("model_type", "scale_dp_policy")))

    @property
    def _head(self) -> Mapping[str, Any]:
        head = self.values.get("policy_head_config")
        return head if isinstance(head, Mapping) else {}

    def attention_heads(self, depth: int, width: int) -> int:
        """Attention heads of the expert, which no tensor shows.

        Raises:
            UserError: the file does not say, and the sizes are none of the published ones.
        """
        found = self._head.get("num_heads")
        if isinstance(found, int) and not isinstance(found, bool) and found > 0:
            return found
        size = self.values.get("policy_head_size", self._head.get("model_size"))
        if size in POLICY_HEAD_SIZES:
            return SCALEDP_PRESETS[POLICY_HEAD_SIZES[size]].heads
        return heads_of_size(depth, width, f"{self.path}: policy_head_config.num_heads is {found!r}")

    def check_head(self, sizes: Mapping[str, tuple[int, str]]) -> None:
        """Refuse tensors of other sizes than the file says.

        Args:
            sizes: by key of `policy_head_config`: what the tensors show, and the name of one that does.

        Raises:
            UserError: naming the key, the tensor, found and expected.
        """
        for key, (found, tensor) in sizes.items():
            expected = self._head.get(key)
            if expected is not None and expected != found:
                raise UserError(
                    f"{self.path}: policy_head_config.{key} is {expected!r}, but the tensor {tensor!r} shows "
                    f"{found}: "
                    "copy config.json and weights of the same checkpoint."
                )

    def backbone(self, embeddings: int, tokenizer: PreTrainedTokenizerFast, tied: bool) -> BackboneConfig:
        """The backbone.

        Args:
            embeddings: rows of the embedding, V.
            tied: the output layer shares them.

        Raises:
            UserError: a field is missing or not supported, or the tokenizer has tokens beyond the embedding.
        """
        name = str(self.values.get("model_type"))
        name = "qwen2_vl" if name == DEXVLA_MODEL_TYPE else name
        family = FAMILIES[name]
        try:
            values = {
                key: value for key, value in self.values.items() if key not in ("model_type", "auto_map")
            }
            config = family.config.from_dict(values)
            vision, text = config.vision_config.to_dict(), config.text_config.to_dict()
        except Exception as error:
            # transformers checks fields on its own, with exceptions of many kinds.
            raise UserError(
                f"{self.path} is no configuration of {name} ({error}): restore the file."
            ) from error
        preset = next(p for p in BACKBONE_PRESETS.values() if p.get("family", "qwen2_vl") == name)
        self._check_geometry(vision, family.geometry)
        rope = {key: value for key, value in text["rope_parameters"].items() if key != "type"}
        ids = special_token_ids(tokenizer)
        if len(tokenizer) > embeddings:
            raise UserError(
                f"{self.path.parent}: the tokenizer has {len(tokenizer)} tokens, the embedding {embeddings} "
                "rows: give "
                "the tokenizer that the weights were trained with (--tokenizer)."
            )
        found = self.values.get("image_token_id")
        if found is not None and found != ids["<|image_pad|>"]:
            raise UserError(
                f"{self.path}: image_token_id is {found}, the tokenizer's <|image_pad|> is "
                f"{ids['<|image_pad|>']}: "
                "give the tokenizer that the weights were trained with (--tokenizer)."
            )
        return BackboneConfig(
            vision=_chosen(vision, preset["vision"], type(config.vision_config)),
            text=_chosen(text, preset["text"], type(config.text_config))
            | {"vocab_size": embeddings, "rope_parameters": rope},
            special_tokens=ids | {"vocab_size": embeddings},
            family=name,
            tie_embeddings=tied,
        )

    def _check_geometry(self, vision: Mapping[str, Any], geometry: Any) -> None:
        expected = {
            "patch_size": geometry.patch,
            "spatial_merge_size": geometry.merge,
            "temporal_patch_size": geometry.frames,
        }
        for key, value in expected.items():
            if vision.get(key, value) != value:
                raise UserError(
                    f"{self.path}: vision_config.{key} is {vision[key]}, the only one supported is {value}."
                )


def _chosen(found: Mapping[str, Any], preset: Mapping[str, Any], kind: type) -> dict[str, Any]:
    """The fields that a preset has, and optional ones that are not as transformers would set them."""
    fields = {key: found[key] for key in preset if key != "initializer_range"}
    defaults = kind().to_dict()
    for key in _OPTIONAL:
        if key in found and found[key] != defaults.get(key):
            fields[key] = found[key]
    return fields


def heads_of_size(depth: int, width: int, problem: str) -> int:
    """Attention heads of a published size of ScaleDP. Raises UserError, saying `problem`, for another
    size."""
    for preset in SCALEDP_PRESETS.values():
        if (preset.depth, preset.width) == (depth, width):
            return preset.heads
    raise UserError(
        f"{problem}, and an expert of depth {depth} and width {width} is none of the published sizes: give "
        "--attention-heads."
    )

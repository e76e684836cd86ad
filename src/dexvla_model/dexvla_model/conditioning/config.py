"""Sizes of the encoders that condition the expert where no vision-language model does."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from transformers import DistilBertConfig, ResNetConfig

from dexvla_model.errors import UserError
from dexvla_model.json_fields import take_fields

NORMALIZATIONS = ("group", "frozen_batch")
POOLINGS = ("spatial_softmax", "average")
LAYER_TYPES = ("basic", "bottleneck")
# Chi et al. 2023 ("Diffusion policy") put one group on 16 channels.
CHANNELS_PER_GROUP = 16


def _require_whole(where: str, values: Mapping[str, Any], least: int = 1) -> None:
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise UserError(f"{where}.{name} is {value!r}, it must be a whole number of at least {least}.")


@dataclass(frozen=True)
class ImageEncoderConfig:
    """A ResNet (He et al. 2016) over each camera's image.

    Attributes:
        stem_width: channels behind the first convolution.
        hidden_sizes: channels of each stage; each stage but the first halves the map, the stem quarters it.
        depths: blocks of each stage.
        layer_type: `basic` (two 3x3 convolutions) or `bottleneck` (1x1, 3x3, 1x1).
        normalization: `group` for GroupNorm, which has no running statistics: batches of mixed robots do not
            leak into each other, and averaged weights (EMA) need no statistics of their own, which is why
            Diffusion Policy (Chi et al. 2023) puts it in BatchNorm's place. `frozen_batch` for BatchNorm with
            fixed statistics and scales, as Carion et al. 2020 (DETR) use pretrained weights; with random
            weights it normalises nothing.
        pooling: `spatial_softmax` (Finn et al. 2016): `keypoints` pairs (x, y), where things are; the default
            of Diffusion Policy. `average`: a mean per channel, what there is.
        keypoints: number of pairs of the spatial softmax.
        film_from_stage: first stage (from 0) whose blocks the sentence modulates; the number of stages for
            none.
    """

    stem_width: int
    hidden_sizes: tuple[int, ...]
    depths: tuple[int, ...]
    layer_type: str
    normalization: str = "group"
    pooling: str = "spatial_softmax"
    keypoints: int = 32
    film_from_stage: int = 1

    def __post_init__(self) -> None:
        for name in ("hidden_sizes", "depths"):
            value = getattr(self, name)
            if not isinstance(value, (list, tuple)) or not value:
                raise UserError(f"image.{name} is {value!r}, needed is a list of whole numbers.")
            # JSON gives lists back.
            object.__setattr__(self, name, tuple(value))
            _require_whole("image", {f"{name}[{i}]": number for i, number in enumerate(value)})
        _require_whole("image", {"stem_width": self.stem_width, "keypoints": self.keypoints})
        _require_whole("image", {"film_from_stage": self.film_from_stage}, least=0)
        if len(self.depths) != len(self.hidden_sizes):
            raise UserError(
                f"image.depths has {len(self.depths)} stages, image.hidden_sizes has "
                f"{len(self.hidden_sizes)}: give as many."
            )
        for name, allowed in (
            ("layer_type", LAYER_TYPES),
            ("normalization", NORMALIZATIONS),
            ("pooling", POOLINGS),
        ):
            if getattr(self, name) not in allowed:
                raise UserError(f"image.{name} is {getattr(self, name)!r}, allowed are {', '.join(allowed)}.")
        inner = 4 if self.layer_type == "bottleneck" else 1
        for width in (self.stem_width, *(size // inner for size in self.hidden_sizes)):
            if self.normalization == "group" and width % CHANNELS_PER_GROUP:
                raise UserError(
                    f"image: GroupNorm has groups of {CHANNELS_PER_GROUP} channels, which do not divide the "
                    f"{width} channels of a convolution: change image.stem_width or image.hidden_sizes."
                )

    @property
    def feature_width(self) -> int:
        """Numbers that the pooling makes of one image."""
        return 2 * self.keypoints if self.pooling == "spatial_softmax" else self.hidden_sizes[-1]

    def to_transformers(self) -> ResNetConfig:
        """transformers' configuration of the same network."""
        return ResNetConfig(
            embedding_size=self.stem_width,
            hidden_sizes=list(self.hidden_sizes),
            depths=list(self.depths),
            layer_type=self.layer_type,
        )

    @classmethod
    def from_json(cls, values: Any, where: str) -> "ImageEncoderConfig":
        """From what `asdict` made; `where` names file and key in errors."""
        return cls(**take_fields(cls, values, where))


@dataclass(frozen=True)
class SentenceEncoderConfig:
    """A DistilBERT (Sanh et al. 2019) whose last states are averaged over the text's tokens.

    Attributes:
        width, layers, heads, hidden_width: of the transformer.
        vocab_size: of the tokenizer; pad_token_id: its padding token.
        max_tokens: longest text.
        frozen: the weights stay as they are; for pretrained ones.
    """

    width: int
    layers: int
    heads: int
    hidden_width: int
    vocab_size: int = 1024
    pad_token_id: int = 0
    max_tokens: int = 128
    frozen: bool = False

    def __post_init__(self) -> None:
        sizes = ("width", "layers", "heads", "hidden_width", "vocab_size", "max_tokens")
        _require_whole("text", {name: getattr(self, name) for name in sizes})
        _require_whole("text", {"pad_token_id": self.pad_token_id}, least=0)
        if self.width % self.heads:
            raise UserError(f"text.heads is {self.heads}, no divisor of text.width {self.width}: choose one.")
        if self.pad_token_id >= self.vocab_size:
            raise UserError(
                f"text.pad_token_id is {self.pad_token_id}, it must be below text.vocab_size "
                f"{self.vocab_size}."
            )
        if not isinstance(self.frozen, bool):
            raise UserError(f"text.frozen is {self.frozen!r}, allowed are true and false.")

    def to_transformers(self) -> DistilBertConfig:
        """transformers' configuration of the same network, without dropout: a run must be repeatable."""
        return DistilBertConfig(
            vocab_size=self.vocab_size,
            max_position_embeddings=self.max_tokens,
            n_layers=self.layers,
            n_heads=self.heads,
            dim=self.width,
            hidden_dim=self.hidden_width,
            dropout=0.0,
            attention_dropout=0.0,
            pad_token_id=self.pad_token_id,
        )

    @classmethod
    def from_json(cls, values: Any, where: str) -> "SentenceEncoderConfig":
        """From what `asdict` made; `where` names file and key in errors."""
        return cls(**take_fields(cls, values, where))


# The published sizes, and two that train on a CPU; the small ones keep a finer map for small images.
IMAGE_ENCODER_PRESETS: dict[str, ImageEncoderConfig] = {
    "resnet-50": ImageEncoderConfig(64, (256, 512, 1024, 2048), (3, 4, 6, 3), "bottleneck"),
    "resnet-18": ImageEncoderConfig(64, (64, 128, 256, 512), (2, 2, 2, 2), "basic"),
    "resnet-tiny": ImageEncoderConfig(32, (32, 64, 128), (1, 1, 1), "basic"),
    "resnet-nano": ImageEncoderConfig(16, (16, 32), (1, 1), "basic", keypoints=16),
}
SENTENCE_ENCODER_PRESETS: dict[str, SentenceEncoderConfig] = {
    "distilbert-base": SentenceEncoderConfig(768, 6, 12, 3072, vocab_size=30522, max_tokens=512, frozen=True),
    "distilbert-tiny": SentenceEncoderConfig(128, 2, 4, 256),
    "distilbert-nano": SentenceEncoderConfig(32, 1, 2, 64, vocab_size=512),
}


def image_encoder_preset(name: str, **changes) -> ImageEncoderConfig:
    """The preset `name` with fields replaced by `changes`. Raises UserError for a name that is not there."""
    return _preset("image encoder", IMAGE_ENCODER_PRESETS, name, changes)


def sentence_encoder_preset(name: str, **changes) -> SentenceEncoderConfig:
    """The preset `name` with fields replaced by `changes`. Raises UserError for a name that is not there."""
    return _preset("sentence encoder", SENTENCE_ENCODER_PRESETS, name, changes)


def _preset(kind: str, presets: Mapping[str, Any], name: str, changes: Mapping[str, Any]) -> Any:
    if name not in presets:
        raise UserError(f"{kind} preset {name!r} is unknown, allowed are {', '.join(sorted(presets))}.")
    take_fields(type(presets[name]), vars(presets[name]) | dict(changes), f"{kind} preset {name}")
    return replace(presets[name], **changes)

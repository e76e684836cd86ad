"""Pretrained encoders from local folders in the layout of the Hugging Face hub: `config.json`,
`model.safetensors`.

Such a folder is what the download of a repository such as `microsoft/resnet-50` or `distilbert-base-uncased`
gives, and what `save_pretrained` writes.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn
from transformers import AutoConfig, DistilBertConfig, ResNetConfig

from dexvla_model.conditioning.config import ImageEncoderConfig, SentenceEncoderConfig
from dexvla_model.conditioning.conditioner import Conditioner
from dexvla_model.errors import UserError

WEIGHTS_FILE = "model.safetensors"


def image_encoder_of_folder(folder: Path, **changes) -> ImageEncoderConfig:
    """The sizes of the ResNet in a folder, with BatchNorm frozen as its weights need it, and fields in
    `changes`.

    Raises:
        UserError: the folder holds no ResNet, or one that is built in a way that is not supported.
    """
    config = _read_config(folder, ResNetConfig, "ResNet")
    if config.downsample_in_first_stage or config.downsample_in_bottleneck or config.hidden_act != "relu":
        raise UserError(
            f"{folder / 'config.json'}: downsample_in_first_stage and downsample_in_bottleneck must be false "
            "and hidden_act must be relu: use a ResNet such as microsoft/resnet-50."
        )
    values = {
        "stem_width": config.embedding_size,
        "hidden_sizes": tuple(config.hidden_sizes),
        "depths": tuple(config.depths),
        "layer_type": config.layer_type,
        "normalization": "frozen_batch",
    }
    return ImageEncoderConfig(**(values | changes))


def sentence_encoder_of_folder(folder: Path, **changes) -> SentenceEncoderConfig:
    """The sizes of the DistilBERT in a folder, its weights frozen, and fields in `changes`.

    Raises:
        UserError: the folder holds no DistilBERT.
    """
    config = _read_config(folder, DistilBertConfig, "DistilBERT")
    values = {
        "width": config.dim,
        "layers": config.n_layers,
        "heads": config.n_heads,
        "hidden_width": config.hidden_dim,
        "vocab_size": config.vocab_size,
        "pad_token_id": config.pad_token_id or 0,
        "max_tokens": config.max_position_embeddings,
        "frozen": True,
    }
    return SentenceEncoderConfig(**(values | changes))


def load_image_encoder(conditioner: Conditioner, folder: Path) -> None:
    """Fill the ResNet of a conditioner from a folder; its FiLM layers and pooling stay as they are.

    Raises:
        UserError: a file is missing or damaged, a tensor is missing or misshapen, or the conditioner has
            GroupNorm, which BatchNorm's weights do not fit.
    """
    if conditioner.image_encoder.config.normalization != "frozen_batch":
        raise UserError(
            f"{folder} holds weights that were trained with BatchNorm, image.normalization is "
            f"{conditioner.image_encoder.config.normalization!r}: set it to 'frozen_batch'."
        )
    _load(conditioner.image_encoder.resnet, folder, "resnet.")


def load_sentence_encoder(conditioner: Conditioner, folder: Path) -> None:
    """Fill the DistilBERT of a conditioner from a folder. Raises UserError as `load_image_encoder` does."""
    _load(conditioner.sentence_encoder.distilbert, folder, "distilbert.")


def _read_config(folder: Path, kind: type, name: str) -> Any:
    path = folder / "config.json"
    if not path.is_file():
        raise UserError(f"{path} is missing: give a folder in the layout of the Hugging Face hub.")
    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"{path} cannot be read ({error}): download the folder again.") from error
    if not isinstance(config, kind):
        raise UserError(f"{path}: model_type is {config.model_type!r}, needed is that of a {name}.")
    return config


def _load(module: nn.Module, folder: Path, prefix: str) -> None:
    path = folder / WEIGHTS_FILE
    if not path.is_file():
        raise UserError(f"{path} is missing: give a folder with weights as safetensors.")
    try:
        tensors = load_file(path)
    except (OSError, SafetensorError) as error:
        raise UserError(f"{path} cannot be read ({error}): download it again.") from error
    # Models with a head on top (a classifier, a masked language model) keep the encoder under its name.
    found: Mapping[str, torch.Tensor] = {
        name.removeprefix(prefix): tensor for name, tensor in tensors.items()
    }
    expected = module.state_dict(keep_vars=True)
    for name, tensor in expected.items():
        if name not in found:
            raise UserError(f"{path}: tensor {name!r} is missing: give the weights of that network.")
        if found[name].shape != tensor.shape:
            raise UserError(
                f"{path}: tensor {name!r} has shape {tuple(found[name].shape)}, needed is "
                f"{tuple(tensor.shape)}: give weights of the configured size."
            )
        if not torch.isfinite(found[name]).all():
            raise UserError(f"{path}: tensor {name!r} holds values that are not finite: download it again.")
    with torch.no_grad():
        for name, tensor in expected.items():
            tensor.copy_(found[name])

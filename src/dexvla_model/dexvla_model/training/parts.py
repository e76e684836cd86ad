"""The parts of a model that a training file names, by the parameters that they hold."""

from collections.abc import Iterator, Mapping

from torch import nn

from dexvla_model.training.optimization_config import LoraConfig
from dexvla_model.training.stages import LORA, Trained

# Which part a parameter belongs to, by the start of its name; the first that fits counts.
_PREFIXES = {
    "vlm.qwen.model.visual.": "vision",
    "vlm.patch_positions.": "vision",
    "vlm.": "language_model",
    "fusion.": "fusion",
    "expert.": "expert",
    "conditioner.image_encoder.": "image_encoder",
    "conditioner.sentence_encoder.": "sentence_encoder",
    "conditioner.": "fusion",
    "done.": "fusion",
    # What a baseline adds to a backbone, such as the reading of the robot's state.
    "": "fusion",
}


def part_of(name: str) -> str:
    """The part that the parameter of that name in a model belongs to."""
    return next(part for prefix, part in _PREFIXES.items() if name.startswith(prefix))


def parameters_by_part(model: nn.Module) -> Iterator[tuple[str, str, nn.Parameter]]:
    """(part, name, parameter) of every parameter; a tied one once."""
    for name, parameter in model.named_parameters():
        yield part_of(name), name, parameter


def set_trained(model: nn.Module, train: Mapping[str, Trained], lora: LoraConfig = LoraConfig()) -> None:
    """Freeze the parts that do not learn, and give adapters to those that learn by them.

    What the model itself holds frozen, such as a pretrained sentence encoder, stays so.
    """
    for part, _, parameter in parameters_by_part(model):
        if train.get(part, True) is False:
            parameter.requires_grad_(False)
    if train.get("language_model") == LORA:
        # peft takes seconds to import.
        from dexvla_model.training.lora import add_lora

        add_lora(model, lora)


def trained_sizes(model: nn.Module) -> dict[str, tuple[int, int]]:
    """By part, how many numbers learn, of how many."""
    sizes: dict[str, tuple[int, int]] = {}
    for part, _, parameter in parameters_by_part(model):
        learn, total = sizes.get(part, (0, 0))
        sizes[part] = learn + parameter.numel() * parameter.requires_grad, total + parameter.numel()
    return sizes


def said_of(sizes: Mapping[str, tuple[int, int]]) -> str:
    """A line of `trained_sizes`, for people."""
    return ", ".join(f"{part} {learn:,} of {total:,}" for part, (learn, total) in sizes.items())

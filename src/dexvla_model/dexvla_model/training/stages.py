"""The stages of the embodied curriculum: what each starts from, and which parts of its model learn."""

from collections.abc import Mapping
from dataclasses import dataclass

from dexvla_model.yaml_reader import MappingReader

# `joint` is no stage of the paper: everything of a DexVLA learns at once, its vision tower too, from random
# weights or a checkpoint. It stands in for the pre-training of a vision-language model that is too small for
# a published one.
JOINT = "joint"
STAGES: tuple[int | str, ...] = (1, 2, 3, JOINT)
LORA = "lora"

# What of a part learns.
Trained = bool | str


@dataclass(frozen=True)
class StageDefaults:
    """What a stage is.

    Attributes:
        parts: of its model, and what of each learns unless the training file says otherwise.
        may_be_lora: the parts that may learn through low-rank adapters.
        starts_from: stages whose checkpoints it may start from; "none" for random weights.
    """

    parts: Mapping[str, Trained]
    may_be_lora: tuple[str, ...]
    starts_from: tuple[int | str, ...]


_ALIGNMENT = {"vision": False, "language_model": True, "fusion": True, "expert": True}
DEFAULTS: dict[int | str, StageDefaults] = {
    1: StageDefaults(
        {"image_encoder": True, "sentence_encoder": True, "fusion": True, "expert": True}, (), ("none", 1)
    ),
    2: StageDefaults(_ALIGNMENT, ("language_model",), ("none", 1, 2, JOINT)),
    3: StageDefaults(_ALIGNMENT, ("language_model",), (2, 3, JOINT)),
    JOINT: StageDefaults(_ALIGNMENT | {"vision": True}, ("language_model",), ("none", 2, 3, JOINT)),
}


def read_stage(reader: MappingReader) -> int | str:
    """The key `stage`; `joint` where a file has none. Raises UserError naming what is allowed."""
    stage = reader.take("stage") if reader.has("stage") else JOINT
    if stage not in STAGES or isinstance(stage, bool):
        raise reader.error("stage", repr(stage), f"allowed are {', '.join(map(str, STAGES))}")
    return stage


def read_train(reader: MappingReader, stage: int | str) -> dict[str, Trained]:
    """The table `train`, filled up with the stage's defaults."""
    defaults = DEFAULTS[stage]
    table = reader.mapping("train", optional=True)
    chosen: dict[str, Trained] = {}
    for part, default in defaults.parts.items():
        chosen[part] = default
        if not table.has(part):
            continue
        value = table.take(part)
        allowed = (True, False, *((LORA,) if part in defaults.may_be_lora else ()))
        if not any(value is each or value == each and isinstance(value, str) for each in allowed):
            names = ", ".join(str(each).lower() for each in allowed)
            raise table.error(part, repr(value), f"allowed are {names}")
        chosen[part] = value
    table.finish()
    if not any(chosen.values()):
        raise reader.error("train", "false for every part", "at least one part has to learn")
    return chosen

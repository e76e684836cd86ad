"""What a training file says about how the weights are fitted."""

from collections.abc import Collection
from dataclasses import dataclass, field

from dexvla_model.yaml_reader import MappingReader

MIXED_PRECISIONS = ("no", "bf16")
SCHEDULES = ("cosine", "constant")


@dataclass(frozen=True)
class LoraConfig:
    """Low-rank adapters (Hu et al. 2021) on a part's linear layers.

    Attributes:
        rank, alpha, dropout: of the adapters; they add alpha / rank times their product.
    """

    rank: int = 64
    alpha: float = 256.0
    dropout: float = 0.0


@dataclass(frozen=True)
class OptimizationConfig:
    """How the weights are fitted.

    Attributes:
        steps: optimizer steps. batch_size: frames per step, over all processes and accumulated parts.
        accumulation: parts of a batch that go through the model one after the other, before one step.
        chunks_per_frame: chunks per frame, each at a delay of its own; they share the VLM's forward pass.
        action_samples: noise and time-step draws per chunk.
        learning_rate: peak of AdamW. muon_learning_rate: peak of Muon for hidden matrices, 0 for AdamW alone.
        part_learning_rates: peaks of AdamW of single parts; their peak of Muon changes by the same factor.
        adam_beta2, adam_epsilon: of AdamW; its first beta is 0.9.
        warmup_steps: linear warm-up, then `schedule` (cosine to a fiftieth, or constant).
        language_weight, grounding_weight: of the sub-step loss and of the loss that grounds the vision tower,
            beside the action loss.
        sub_step_dropout: of stage 1, share of the observations whose sub-step is not told.
        done_weight: of stage 1, of the loss of the classifier that says when the work is done.
        max_delay_frames: images and sub-step are up to so many frames older than state and chunk, drawn
            evenly: at run time the reasoning is late as well.
        ema_decay: of the weights that are saved, 0 for none.
        gradient_checkpointing: hidden states are computed again in the backward pass instead of kept.
        compile_blocks: torch.compile fuses each block; the first steps take minutes, and a C++ compiler.
        precompute_images: image tokens of a frozen vision tower are made once for all frames.
        threads: CPU threads, 0 for PyTorch's own choice.
        workers: threads that make batches ahead; 0 makes them between the steps.
    """

    steps: int
    batch_size: int
    accumulation: int
    chunks_per_frame: int
    action_samples: int
    learning_rate: float
    muon_learning_rate: float
    weight_decay: float
    warmup_steps: int
    schedule: str
    gradient_clip: float
    language_weight: float
    grounding_weight: float
    sub_step_dropout: float
    done_weight: float
    max_delay_frames: int
    ema_decay: float
    mixed_precision: str
    gradient_checkpointing: bool
    compile_blocks: bool
    precompute_images: bool
    seed: int
    threads: int
    workers: int
    adam_beta2: float = 0.95
    adam_epsilon: float = 1e-8
    part_learning_rates: dict[str, float] = field(default_factory=dict)
    lora: LoraConfig = LoraConfig()


def read_optimization(reader: MappingReader, stage: int | str, parts: Collection[str]) -> OptimizationConfig:
    """The table `optimization`; the keys of losses are those of the stage's model."""
    first = stage == 1
    config = OptimizationConfig(
        steps=reader.integer("steps", 1, 100_000_000),
        batch_size=reader.integer("batch_size", 1, 65536),
        accumulation=reader.integer("accumulation", 1, 65536, default=1),
        chunks_per_frame=reader.integer("chunks_per_frame", 1, 64, default=1),
        action_samples=reader.integer("action_samples", 1, 1024, default=1),
        learning_rate=reader.number("learning_rate", 1e-9, 1.0),
        muon_learning_rate=reader.number("muon_learning_rate", 0.0, 1.0, default=0.0),
        weight_decay=reader.number("weight_decay", 0.0, 10.0),
        warmup_steps=reader.integer("warmup_steps", 0, 100_000_000),
        schedule=reader.text("schedule", allowed=SCHEDULES),
        gradient_clip=reader.number("gradient_clip", 1e-6, 1e6),
        language_weight=0.0 if first else reader.number("language_weight", 0.0, 1e3),
        grounding_weight=0.0 if first else reader.number("grounding_weight", 0.0, 1e3, default=0.0),
        sub_step_dropout=reader.number("sub_step_dropout", 0.0, 1.0, default=0.5) if first else 0.0,
        done_weight=reader.number("done_weight", 0.0, 1e3, default=0.1) if first else 0.0,
        max_delay_frames=reader.integer("max_delay_frames", 0, 100),
        ema_decay=reader.number("ema_decay", 0.0, 0.999999),
        mixed_precision=reader.text("mixed_precision", allowed=MIXED_PRECISIONS),
        gradient_checkpointing=reader.boolean("gradient_checkpointing", default=False),
        compile_blocks=reader.boolean("compile_blocks", default=False),
        precompute_images=False if first else reader.boolean("precompute_images", default=True),
        seed=reader.integer("seed", 0, 2**31),
        threads=reader.integer("threads", 0, 1024, default=0),
        workers=reader.integer("workers", 0, 1024, default=0),
        adam_beta2=reader.number("adam_beta2", 0.0, 0.9999, default=0.95),
        adam_epsilon=reader.number("adam_epsilon", 1e-12, 1.0, default=1e-8),
        part_learning_rates=_read_part_rates(reader.mapping("learning_rates", optional=True), parts),
        lora=LoraConfig() if first else _read_lora(reader.mapping("lora", optional=True)),
    )
    if config.batch_size % config.accumulation:
        raise reader.error(
            "accumulation", str(config.accumulation), f"it has to divide batch_size {config.batch_size}"
        )
    reader.finish()
    return config


def _read_part_rates(reader: MappingReader, parts: Collection[str]) -> dict[str, float]:
    rates = {part: reader.number(part, 1e-9, 1.0) for part in parts if reader.has(part)}
    reader.finish()
    return rates


def _read_lora(reader: MappingReader) -> LoraConfig:
    config = LoraConfig(
        rank=reader.integer("rank", 1, 4096, default=LoraConfig.rank),
        alpha=reader.number("alpha", 1e-6, 1e6, default=LoraConfig.alpha),
        dropout=reader.number("dropout", 0.0, 0.9, default=LoraConfig.dropout),
    )
    reader.finish()
    return config

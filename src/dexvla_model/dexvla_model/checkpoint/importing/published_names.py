"""Names of tensors: those of the published checkpoints, and those of this project's models."""

from collections.abc import Iterable

# Published prefix -> ours; the first that fits. transformers renamed the backbone's parts after DexVLA was
# published.
_PREFIXES = (
    ("model.visual.", "vlm.qwen.model.visual."),
    ("model.language_model.", "vlm.qwen.model.language_model."),
    ("visual.", "vlm.qwen.model.visual."),
    ("model.", "vlm.qwen.model.language_model."),
    ("lm_head.", "vlm.qwen.lm_head."),
    ("input_action_proj.", "fusion.input_action_proj."),
    ("reasoning_action_proj.", "fusion.reasoning_action_proj."),
    ("reasoning_film.", "fusion.reasoning_film."),
)
POLICY_HEAD = "policy_head."
EMBEDDING = "vlm.qwen.model.language_model.embed_tokens.weight"
OUTPUT = "vlm.qwen.lm_head.weight"
FUSION = "fusion."
BACKBONE = "vlm."
EXPERT = "expert."


def our_name(published: str) -> str | None:
    """Our name of a published tensor of backbone or fusion; None for any other."""
    for prefix, ours in _PREFIXES:
        if published.startswith(prefix):
            return ours + published.removeprefix(prefix)
    return None


def is_computed(name: str) -> bool:
    """Whether a published tensor is one that every model computes for itself: a frequency of a rotary
    embedding."""
    return name.endswith("inv_freq")


def lora_name(names: Iterable[str]) -> str | None:
    """A tensor of an unmerged LoRA adapter among the names, if there is one."""
    return next((name for name in names if ".lora_" in name), None)


def part_of(name: str) -> str:
    """Which part of a model one of our tensors belongs to, for tables."""
    if name.startswith("vlm."):
        return "vision" if name.startswith(("vlm.qwen.model.visual.", "vlm.patch_positions.")) else "language"
    if name.startswith(f"{EXPERT}heads."):
        return f"head {name.split('.')[2]}"
    if name.startswith(EXPERT):
        return "expert trunk"
    return "fusion" if name.startswith(FUSION) else "conditioning"

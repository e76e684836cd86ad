"""A published ScaleDP inside a source of tensors: its sizes, and which of our tensors each of its tensors
is."""

from collections.abc import Iterable

from dexvla_model.checkpoint.importing.pieces import Piece
from dexvla_model.checkpoint.importing.published_names import EXPERT
from dexvla_model.checkpoint.tensor_files import TensorEntry, TensorSource
from dexvla_model.errors import UserError
from dexvla_model.expert import EmbodimentConfig, ScaleDPConfig
from dexvla_model.official import published_expert_name

# Without these there is no trunk; of the others, published stage-1 files may lack some.
_NEEDED = ("blocks.0.attn.proj.weight", "blocks.0.mlp.fc1.weight", "t_embedder.mlp.0.weight")
# Width of the published backbone, for a file that does not show for which width it was trained.
_USUAL_CONDITION_WIDTH = 1536


class PublishedExpert:
    """The tensors below a prefix."""

    def __init__(self, source: TensorSource, prefix: str) -> None:
        """Raises UserError naming a tensor without which there is no expert."""
        self.source = source
        self.prefix = prefix
        for key in _NEEDED:
            if self.entry(key) is None:
                file = next(iter(source.entries.values())).file
                raise UserError(
                    f"{file}: tensor {prefix + key!r} is missing, which every published ScaleDP has: give "
                    "another file."
                )

    def entry(self, key: str) -> TensorEntry | None:
        return self.source.entries.get(self.prefix + key)

    def _size(self, key: str, dimension: int) -> int | None:
        entry = self.entry(key)
        return None if entry is None or dimension >= len(entry.shape) else entry.shape[dimension]

    @property
    def depth(self) -> int:
        prefix = f"{self.prefix}blocks."
        numbers = [
            name.removeprefix(prefix).partition(".")[0]
            for name in self.source.entries
            if name.startswith(prefix)
        ]
        return 1 + max(int(number) for number in numbers if number.isdecimal())

    @property
    def width(self) -> int:
        return self.entry("blocks.0.attn.proj.weight").shape[0]

    @property
    def condition_width(self) -> int | None:
        """C as it was trained; None when the file does not show it."""
        return self._size("combine.4.weight", 0) or self._size("cond_obs_emb.weight", 1)

    def trunk(self, attention_heads: int, condition_width: int | None = None) -> ScaleDPConfig:
        """The trunk's sizes, for another condition width than the file's where one is given."""
        hidden = self.entry("blocks.0.mlp.fc1.weight")
        if hidden.shape[0] % self.width:
            raise UserError(
                f"{hidden.file}: tensor {hidden.name!r} has shape {hidden.shape}, expected is a multiple of "
                "the width "
                f"{self.width} as its first size."
            )
        return ScaleDPConfig(
            depth=self.depth,
            width=self.width,
            heads=attention_heads,
            condition_width=condition_width or self.condition_width or _USUAL_CONDITION_WIDTH,
            combine_width=self._size("combine.0.weight", 0) or ScaleDPConfig.combine_width,
            mlp_ratio=hidden.shape[0] // self.width,
            time_frequency_size=self._size("t_embedder.mlp.0.weight", 1),
        )

    def head(self, state_size: int | None = None) -> EmbodimentConfig | None:
        """The sizes of its head, with `state_size` where the file does not show it; None when the file has no
        head."""
        actions = self._size("x_embedder.weight", 1), self._size("final_layer.linear.weight", 0)
        horizon = self._size("pos_embed", 1)
        combined, condition = self._size("combine.0.weight", 1), self._size("combine.4.weight", 0)
        if combined is not None and condition is not None:
            state_size = combined - condition
        if None in (*actions, horizon, state_size):
            return None
        entry = self.entry("x_embedder.weight")
        if actions[0] != actions[1]:
            raise UserError(
                f"{entry.file}: tensor {entry.name!r} has {actions[0]} actions, "
                f"{self.prefix}final_layer.linear.weight "
                f"has {actions[1]}: they must agree."
            )
        if state_size < 1:
            raise UserError(
                f"{entry.file}: tensor {self.prefix + 'combine.0.weight'!r} has {combined} columns, expected "
                "are more "
                f"than the condition's {condition}."
            )
        return EmbodimentConfig(state_size, actions[0], horizon)

    def pieces(
        self, targets: Iterable[str], embodiment: str | None, condition_width: int
    ) -> dict[str, Piece]:
        """Where those of our tensors come from that the file has; names as in a model, below `expert.`."""
        found = {}
        # A head that is not in the file has none of its tensors either.
        head = embodiment or ""
        for target in targets:
            key, columns = published_expert_name(target.removeprefix(EXPERT), head, condition_width)
            if self.entry(key) is not None:
                found[target] = Piece(self.source, self.prefix + key, columns)
        return found

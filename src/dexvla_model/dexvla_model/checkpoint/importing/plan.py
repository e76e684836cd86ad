"""What an import is going to do, worked out from headers alone: nothing is read or written yet."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import torch

from dexvla_model.checkpoint.empty_modules import parameters_on_meta
from dexvla_model.checkpoint.folder import Description
from dexvla_model.checkpoint.importing.layouts import Layout
from dexvla_model.checkpoint.importing.pieces import Piece
from dexvla_model.checkpoint.kinds import model_of
from dexvla_model.checkpoint.tensor_files import TensorEntry
from dexvla_model.checkpoint.weights import own_tensors
from dexvla_model.errors import UserError
from dexvla_model.robot.description import RobotDescription


def weights_dtype(name: str) -> torch.dtype:
    """The type of that name. Raises UserError for one that checkpoints do not have."""
    types = {"float32": torch.float32, "bfloat16": torch.bfloat16}
    if name not in types:
        raise UserError(f"dtype is {name!r}, allowed are {', '.join(types)}.")
    return types[name]


@dataclass(frozen=True)
class ImportRequest:
    """What the user asks for.

    Attributes:
        path: a folder or file in one of the layouts.
        out: folder of the new checkpoint.
        robot: the robot file of the head, and the head's name with it.
        embodiment: name of the head; None takes the robot's, or `imported`.
        dtype: of the weights; None keeps what the published ones are.
        backbone: a Qwen-VL folder for a stage-1 file; stage1: an expert for a Qwen-VL folder.
        tokenizer: folder of the tokenizer; None looks beside the weights.
        statistics: a dataset_stats.pkl; None looks beside the weights and in the folder above.
        expert: preset of a fresh expert behind a Qwen-VL folder.
        horizon: rows of a fresh head's chunks.
        attention_heads: of the expert, where nothing published says it.
        averaged: take the exponential moving averages of a stage-1 file.
        seed: of everything that is initialised.
        max_shard_bytes: of the written weights; None for the usual one.
        overwrite: replace a checkpoint that stands at `out`.
        only_head: of a checkpoint of this project, the one robot that is kept; None keeps all.
    """

    path: Path
    out: Path
    robot: RobotDescription | None = None
    embodiment: str | None = None
    dtype: torch.dtype | None = None
    backbone: Path | None = None
    stage1: Path | None = None
    tokenizer: Path | None = None
    statistics: Path | None = None
    expert: str = "scaledp-h"
    horizon: int = 50
    attention_heads: int | None = None
    averaged: bool = False
    seed: int = 0
    max_shard_bytes: int | None = None
    overwrite: bool = False
    only_head: str | None = None

    @property
    def head_name(self) -> str:
        """Name of the head that the import makes or attaches."""
        if self.embodiment is not None:
            return self.embodiment
        return "imported" if self.robot is None else self.robot.embodiment


@dataclass
class ImportPlan:
    """Everything that is known before the first tensor is read.

    Attributes:
        description: all of the new checkpoint but its weights.
        pieces: where each tensor of the new checkpoint comes from; the others are in `fresh`.
        fresh: names of the tensors that are initialised.
        left_over: tensors that are not taken, with the reason.
        notes: what people should know besides.
    """

    layout: Layout
    description: Description
    pieces: dict[str, Piece]
    fresh: list[str]
    left_over: list[tuple[TensorEntry, str]]
    notes: list[str] = field(default_factory=list)
    sizes: dict[str, tuple[int, ...]] = field(default_factory=dict)


def expected_shapes(config: object) -> dict[str, tuple[int, ...]]:
    """Names and shapes of all tensors of the model that a configuration describes."""
    with parameters_on_meta():
        model = model_of(config)
    return {name: tuple(tensor.shape) for name, tensor in own_tensors(model).items()}


def settle(
    shapes: dict[str, tuple[int, ...]],
    pieces: dict[str, Piece],
    where: Path,
    may_be_fresh: Callable[[str], bool] = lambda name: False,
    published_name: Callable[[str], str] = lambda name: name,
) -> tuple[dict[str, Piece], list[str]]:
    """The pieces in the order of their files, and the names of the tensors that have to be initialised.

    Args:
        may_be_fresh: for which tensors that is allowed.
        published_name: how a missing tensor is called in messages.

    Raises:
        UserError: a tensor is missing, or has another shape.
    """
    fresh = []
    for name, shape in shapes.items():
        piece = pieces.get(name)
        if piece is None:
            if not may_be_fresh(name):
                raise UserError(
                    f"{where}: tensor {published_name(name)!r} of shape {shape} is missing: copy the whole "
                    "checkpoint again."
                )
            fresh.append(name)
        else:
            piece.check(name, shape)
    # A file is read from front to back.
    sources = {id(piece.source): piece.source for piece in pieces.values()}
    places = {key: {name: i for i, name in enumerate(source.entries)} for key, source in sources.items()}
    order = {name: (id(piece.source), places[id(piece.source)][piece.name]) for name, piece in pieces.items()}
    return {name: pieces[name] for name in sorted(order, key=order.__getitem__) if name in shapes}, fresh


def unused(pieces: Iterable[Piece], entries: Iterable[TensorEntry]) -> list[TensorEntry]:
    """The tensors on disk of which no piece is taken."""
    taken = {(piece.file, piece.name) for piece in pieces}
    return [entry for entry in entries if (entry.file, entry.name) not in taken]


def check_robot_fits(
    robot: RobotDescription, state_size: int, action_size: int, source: Path, relative: bool
) -> None:
    """Refuse a robot whose vectors have other sizes than the head.

    Args:
        source: where the head comes from, for messages.
        relative: whether the head may predict actions relative to the state.

    Raises:
        UserError: naming key, found and expected.
    """
    for key, found, expected in (
        ("state", len(robot.state), state_size),
        ("action", len(robot.action), action_size),
    ):
        if found != expected:
            raise UserError(
                f"{robot.path}: {key} has {found} entries, the head in {source} has {expected}: give the "
                "robot file of the "
                "robot that it was trained on."
            )
    entry = next((entry for entry in robot.action if entry.relative), None)
    if entry is not None and not relative:
        raise UserError(
            f"{robot.path}: action {entry.joint} is relative, but the statistics of {source} are those of "
            "absolute "
            "actions: make the action absolute."
        )

"""What the plans for the published layouts share: tokenizer, backbone, statistics, and what is left over."""

from collections.abc import Mapping
from pathlib import Path

from transformers import PreTrainedTokenizerFast

from dexvla_model.checkpoint.importing.dataset_statistics import STATISTICS_PICKLE, read_dataset_statistics
from dexvla_model.checkpoint.importing.pieces import Piece
from dexvla_model.checkpoint.importing.plan import ImportRequest, unused
from dexvla_model.checkpoint.importing.published_config import PublishedConfig
from dexvla_model.checkpoint.importing.published_names import (
    BACKBONE,
    EMBEDDING,
    EXPERT,
    FUSION,
    OUTPUT,
    POLICY_HEAD,
    is_computed,
    lora_name,
    our_name,
)
from dexvla_model.checkpoint.importing.stage1_file import EXPERT_PREFIX, Stage1File
from dexvla_model.checkpoint.tensor_files import TensorEntry, TensorFiles, TensorSource
from dexvla_model.dexvla import Embodiment
from dexvla_model.errors import UserError
from dexvla_model.expert import EmbodimentConfig
from dexvla_model.normalization import Statistics
from dexvla_model.robot.description import RobotDescription
from dexvla_model.vlm.config import BackboneConfig
from dexvla_model.vlm.images import ImageSize
from dexvla_model.vlm.tokenizer import load_tokenizer

# What Qwen2-VL's chat template says before every conversation, and so before every published prompt.
SYSTEM = "You are a helpful assistant."
# As the published evaluation generates.
MAX_REASONING_TOKENS = 256
_REMEDY = "copy the whole folder again"


def open_published(folder: Path) -> TensorFiles:
    files = TensorFiles(folder, _REMEDY)
    lora = lora_name(files.entries)
    if lora is not None:
        raise UserError(
            f"{files.entries[lora].file}: tensor {lora!r} belongs to a LoRA adapter that is not merged into "
            "the "
            "weights: merge it first."
        )
    return files


def find_tokenizer(folder: Path, request: ImportRequest) -> PreTrainedTokenizerFast:
    """From the folder that the user names, or beside the weights, or in the folder above (the training
    run's)."""
    if request.tokenizer is not None:
        return load_tokenizer(request.tokenizer)
    for place in (folder, folder.parent, request.backbone):
        if place is not None and (place / "tokenizer.json").is_file():
            return load_tokenizer(place)
    raise UserError(
        f"{folder / 'tokenizer.json'} is missing, in the folder above, too: give the folder of the "
        "backbone's tokenizer "
        "with --tokenizer."
    )


def named_pieces(files: TensorFiles) -> dict[str, Piece]:
    """The pieces of backbone and fusion, by our names."""
    return {our_name(name): Piece(files, name) for name in files.entries if our_name(name) is not None}


def backbone_of(
    published: PublishedConfig,
    files: TensorFiles,
    pieces: dict[str, Piece],
    tokenizer: PreTrainedTokenizerFast,
) -> tuple[BackboneConfig, list[tuple[TensorEntry, str]]]:
    """The backbone's sizes, with the pieces that it does not take removed, and these as left over."""
    embedding = pieces.get(EMBEDDING)
    if embedding is None:
        raise UserError(
            f"{published.path.parent}: the embedding 'model.embed_tokens.weight' is missing from the "
            f"weights: {_REMEDY}."
        )
    tied = bool(published.values.get("tie_word_embeddings", OUTPUT not in pieces))
    left_over = []
    if tied and OUTPUT in pieces:
        left_over.append((pieces.pop(OUTPUT).entry, "the output layer shares the embedding"))
    return published.backbone(embedding.shape[0], tokenizer, tied), left_over


def published_name_of(target: str) -> str:
    """How a tensor of ours is called in the published folders, for messages."""
    if target.startswith(f"{BACKBONE}qwen."):
        name = target.removeprefix(f"{BACKBONE}qwen.")
        return name.replace("model.visual.", "visual.").replace("model.language_model.", "model.")
    return (
        target.removeprefix(FUSION)
        if target.startswith(FUSION)
        else POLICY_HEAD + target.removeprefix(EXPERT)
    )


def cameras_of(robot: RobotDescription | None) -> dict[str, ImageSize]:
    if robot is None:
        return {}
    return {camera.role: ImageSize(camera.model_width, camera.model_height) for camera in robot.cameras}


def fresh_head(request: ImportRequest) -> dict[str, Embodiment]:
    robot = request.robot
    if robot is None:
        return {}
    head = EmbodimentConfig(len(robot.state), len(robot.action), request.horizon)
    return {request.head_name: Embodiment(head, cameras_of(robot))}


def find_statistics(
    folder: Path, request: ImportRequest, head: EmbodimentConfig
) -> tuple[Statistics | None, list[str]]:
    """The published statistics: where the user says, beside the weights, or in the folder above."""
    places = [folder / STATISTICS_PICKLE, folder.parent / STATISTICS_PICKLE]
    path = request.statistics or next((place for place in places if place.is_file()), None)
    if path is None:
        return None, [
            f"There is no {STATISTICS_PICKLE} beside the weights: the head cannot drive until it is imported "
            "with "
            "--statistics or trained."
        ]
    if not path.is_file():
        raise UserError(f"there is no file {path}: check --statistics.")
    statistics = read_dataset_statistics(path)
    for key, found, expected in (
        ("qpos_mean", len(statistics.state_mean), head.state_size),
        ("action_min", len(statistics.action_min), head.action_size),
    ):
        if found != expected:
            raise UserError(
                f"{path}: {key} has {found} values, the head in {folder} has {expected}: give the statistics "
                "of the "
                "same training run."
            )
    return statistics, []


def strangers(
    chosen: Mapping[str, Piece], source: TensorSource, known: list[tuple[TensorEntry, str]]
) -> list[tuple[TensorEntry, str]]:
    """What of a source is taken for nothing, with the reason."""
    named = {(entry.file, entry.name) for entry, _ in known}
    found = []
    for entry in unused(chosen.values(), source.entries.values()):
        if (entry.file, entry.name) in named:
            continue
        reason = "no part of the model"
        if is_computed(entry.name):
            reason = "computed by the model"
        elif _is_encoder(source, entry.name):
            reason = "stage 1's own encoders"
        elif isinstance(source, Stage1File):
            reason = "belongs to the condition or robot of stage 1"
        found.append((entry, reason))
    return found


def _is_encoder(source: TensorSource, name: str) -> bool:
    """Whether a tensor belongs to what stands before the expert in stage 1, published or of this project."""
    if isinstance(source, Stage1File):
        return not name.startswith(EXPERT_PREFIX)
    return name.startswith(("conditioner.", "done."))

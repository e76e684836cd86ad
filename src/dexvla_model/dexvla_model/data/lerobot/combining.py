"""Merging datasets, and splitting one, by whole episodes and without encoding anything again."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from dexvla_model.data.lerobot.copying import copy_episode, specification_of
from dexvla_model.data.lerobot.features import complete_features
from dexvla_model.data.lerobot.layout import ROBOT_FILE, DatasetInfo
from dexvla_model.data.lerobot.reader import DatasetReader
from dexvla_model.data.lerobot.staging import EpisodeStage
from dexvla_model.data.lerobot.storage import writing_to
from dexvla_model.data.lerobot.tables import read_episode_statistics
from dexvla_model.data.lerobot.writer import DatasetWriter
from dexvla_model.errors import UserError

Progress = Callable[[int, int], None]


def _no_progress(done: int, total: int) -> None:
    pass


def merge_datasets(
    readers: Sequence[DatasetReader], out: Path, progress: Progress = _no_progress
) -> DatasetInfo:
    """Write the episodes of several datasets of one kind, in order, as one; goes on where it was interrupted.

    Raises:
        UserError: the datasets differ in rate, features or robot file, one is damaged, or `out` holds
            something else.
    """
    first = specification_of(readers[0])
    for reader in readers[1:]:
        path = reader.folder / ROBOT_FILE
        robot_file = path.read_text(encoding="utf-8") if path.is_file() else ""
        features = complete_features(specification_of(reader).features)
        first.check_continues(features, reader.fps, robot_file, reader.folder)
    return _write(readers, [range(len(reader.episodes)) for reader in readers], out, progress)


def split_dataset(
    reader: DatasetReader, parts: Mapping[str, Sequence[int]], out: Path, progress: Progress = _no_progress
) -> dict[str, DatasetInfo]:
    """Write groups of a dataset's episodes as datasets `out`/NAME; goes on where it was interrupted.

    Args:
        parts: episodes by name of the part.

    Raises:
        UserError: an episode does not exist, a part is empty, or the dataset is damaged.
    """
    for name, episodes in parts.items():
        wrong = [index for index in episodes if not 0 <= index < len(reader.episodes)]
        if wrong:
            raise UserError(
                f"{reader.folder}: there is no episode {wrong[0]}, only 0 to {len(reader.episodes) - 1}."
            )
        if not len(episodes):
            raise UserError(f"{reader.folder}: the part {name} would have no episode; choose other shares.")
    total, done = sum(len(episodes) for episodes in parts.values()), 0
    infos = {}
    for name, episodes in parts.items():
        infos[name] = _write(
            [reader], [episodes], out / name, lambda now, _, done=done: progress(done + now, total)
        )
        done += len(episodes)
    return infos


def split_by_fractions(
    reader: DatasetReader, fractions: Mapping[str, float], seed: int
) -> dict[str, list[int]]:
    """Episodes by part, drawn at random; the same for the same seed.

    Raises:
        UserError: the fractions do not lie in (0, 1] or add up to more than 1.
    """
    total = sum(fractions.values())
    if not all(0 < fraction <= 1 for fraction in fractions.values()) or total > 1 + 1e-9:
        raise UserError(
            f"The fractions are {dict(fractions)}, but each has to be in (0, 1] and all at most 1 together."
        )
    shuffled = np.random.default_rng(seed).permutation(len(reader.episodes))
    ends = np.round(np.cumsum(list(fractions.values())) * len(shuffled)).astype(int)
    starts = [0, *ends[:-1]]
    return {name: sorted(shuffled[a:b].tolist()) for name, a, b in zip(fractions, starts, ends)}


def split_by_success(reader: DatasetReader) -> dict[str, list[int]]:
    """Episodes by `success`, `failure` and `unknown`; parts without episodes are left out."""
    parts: dict[str, list[int]] = {"success": [], "failure": [], "unknown": []}
    for episode in reader.episodes:
        name = "unknown" if episode.success is None else "success" if episode.success else "failure"
        parts[name].append(episode.index)
    return {name: episodes for name, episodes in parts.items() if episodes}


def _write(
    readers: Sequence[DatasetReader], chosen: Sequence[Sequence[int]], out: Path, progress: Progress
) -> DatasetInfo:
    if any(out.resolve() == reader.folder.resolve() for reader in readers):
        raise UserError(
            f"{out}: the result cannot replace the dataset that it is made of; name another folder."
        )
    writer = DatasetWriter.open(out, specification_of(readers[0]))
    try:
        known, stage = writer.sources(), EpisodeStage(out)
        total, done = sum(map(len, chosen)), 0
        for reader, episodes in zip(readers, chosen):
            statistics = read_episode_statistics(reader.folder)
            for index in episodes:
                episode = reader.episodes[index]
                source = f"{reader.folder.resolve()}#{index}"
                if source not in known:
                    with writing_to(out):
                        copied = statistics.get(episode.index, {})
                        copy_episode(reader, episode, copied, stage, writer.next_index(), source)
                done += 1
                progress(done, total)
        return writer.finish()
    finally:
        writer.close()

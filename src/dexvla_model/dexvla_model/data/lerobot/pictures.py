"""Pictures of a dataset's frames, whether its cameras are videos or images inside the Parquet files."""

import io
import threading
from collections import OrderedDict
from collections.abc import Sequence

import numpy as np
from PIL import Image

from dexvla_model.data.lerobot.decoding import DecoderCache
from dexvla_model.data.lerobot.reader import DatasetReader, EpisodeEntry
from dexvla_model.errors import UserError

# Bytes of encoded images that are kept in memory.
_CACHED_BYTES = 2**30


class Pictures:
    """Random access to the cameras' frames, from any thread; each has open videos of its own."""

    def __init__(self, reader: DatasetReader):
        self._reader = reader
        self._local = threading.local()
        self._lock = threading.Lock()
        self._encoded: OrderedDict[tuple[str, int], list[bytes]] = OrderedDict()
        self._encoded_bytes = 0
        self._first = np.array([episode.first for episode in reader.episodes])

    def get(self, key: str, frames: Sequence[int]) -> list[np.ndarray]:
        """Frames, by their index among all of the dataset, of one camera: (H, W, 3) uint8 RGB each.

        Raises:
            UserError: a video or image is missing or damaged.
        """
        frames = np.asarray(frames)
        episodes = np.searchsorted(self._first, frames, side="right") - 1
        found: dict[int, np.ndarray] = {}
        is_video = key in self._reader.info.video_keys
        for number in np.unique(episodes):
            episode = self._reader.episodes[number]
            positions = np.flatnonzero(episodes == number)
            within = frames[positions] - episode.first
            images = (
                self._of_video(key, episode, within) if is_video else self._of_table(key, episode, within)
            )
            found.update(zip(positions.tolist(), images))
        return [found[position] for position in range(len(frames))]

    @property
    def decoders(self) -> DecoderCache:
        """The open videos of this thread."""
        if not hasattr(self._local, "decoders"):
            self._local.decoders = DecoderCache()
        return self._local.decoders

    def _of_video(self, key: str, episode: EpisodeEntry, within: np.ndarray) -> list[np.ndarray]:
        place = episode.videos[key]
        times_s = place.start_s + within / self._reader.fps
        return self.decoders.decoder(place.path).frames_at(times_s.tolist())

    def _of_table(self, key: str, episode: EpisodeEntry, within: np.ndarray) -> list[np.ndarray]:
        with self._lock:
            encoded = self._encoded_of(key, episode)
        return [
            decode_image(encoded[index], f"{key} of episode {episode.index}, frame {index}")
            for index in within
        ]

    def _encoded_of(self, key: str, episode: EpisodeEntry) -> list[bytes]:
        cell = (key, episode.index)
        encoded = self._encoded.pop(cell, None)
        if encoded is None:
            for index, table in self._reader.tables_around(episode, [key]).items():
                if (key, index) not in self._encoded:
                    other = self._reader.episodes[index]
                    images = [self._bytes_of(value, key, other) for value in table[key].to_pylist()]
                    self._encoded_bytes += sum(map(len, images))
                    self._encoded[key, index] = images
            encoded = self._encoded.pop(cell)
        self._encoded[cell] = encoded
        while self._encoded_bytes > _CACHED_BYTES and len(self._encoded) > 1:
            self._encoded_bytes -= sum(map(len, self._encoded.popitem(last=False)[1]))
        return encoded

    def _bytes_of(self, value: dict | bytes | None, key: str, episode: EpisodeEntry) -> bytes:
        content = value.get("bytes") if isinstance(value, dict) else value
        if content is None and isinstance(value, dict) and value.get("path"):
            path = self._reader.folder / value["path"]
            if path.is_file():
                content = path.read_bytes()
        if content is None:
            raise UserError(
                f"{episode.data_path}: {key} of episode {episode.index} lacks an image; restore the dataset."
            )
        return content


def decode_image(encoded: bytes, where: str) -> np.ndarray:
    """A PNG or JPEG as (H, W, 3) uint8 RGB; `where` names it in the error.

    Raises:
        UserError: it is damaged.
    """
    try:
        with Image.open(io.BytesIO(encoded)) as image:
            return np.asarray(image.convert("RGB"))
    except OSError as error:
        raise UserError(f"{where}: the image is damaged ({error}); restore the dataset.") from error

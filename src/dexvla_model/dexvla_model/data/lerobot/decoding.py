"""Frames out of MP4 files at random: seek to the key frame before, decode from there, never from the
start."""

from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path

import av
import numpy as np
from av.codec.context import Flags
from av.video.reformatter import Interpolation, VideoReformatter

from dexvla_model.errors import UserError

# Videos that a thread keeps open; each holds a decoder and the file's index in memory.
_OPEN_VIDEOS = 32
# A frame that is only so many frames ahead of the last one is reached by decoding on, without a seek.
_READ_ON_FRAMES = 2
# FFmpeg's default rounds down, 1.4 levels darker on average; this way back to RGB is 3 dB nearer to the
# picture.
_TO_RGB = Interpolation.BILINEAR | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT


class VideoDecoder:
    """Random access to the frames of one MP4.

    Attributes:
        decoded: frames decoded so far, by which tests see that no file is read from its start.
    """

    def __init__(self, path: Path):
        self.path = path
        self.decoded = 0
        try:
            self._container = av.open(str(path))
            self._stream = self._container.streams.video[0]
        except (av.error.FFmpegError, OSError, IndexError) as error:
            raise UserError(
                f"{path}: the video cannot be opened ({error}); restore it or convert again."
            ) from error
        context = self._stream.codec_context
        # Processes are what runs in parallel. Low delay: a frame comes out as soon as its packet is in.
        context.thread_count = 1
        context.flags |= Flags.low_delay
        self._tick_s = float(self._stream.time_base)
        self._period_s = 1.0 / float(self._stream.average_rate or self._stream.base_rate)
        self._frames = None
        self._last_s: float | None = None
        self._reformatter = VideoReformatter()

    def frames_at(self, times_s: Sequence[float]) -> list[np.ndarray]:
        """Frames (H, W, 3) uint8 RGB that are shown at those times of the file, each within half a frame.

        Raises:
            UserError: the video ends before, or is damaged there.
        """
        found: dict[int, np.ndarray] = {}
        for position in np.argsort(times_s, kind="stable"):
            found[int(position)] = self._frame_at(float(times_s[position]))
        return [found[position] for position in range(len(times_s))]

    def close(self) -> None:
        self._frames = None
        self._container.close()

    def _frame_at(self, time_s: float) -> np.ndarray:
        half_s = self._period_s / 2
        ahead_s = None if self._last_s is None else time_s - self._last_s
        try:
            if self._frames is None or ahead_s < half_s or ahead_s > (_READ_ON_FRAMES + 0.5) * self._period_s:
                # Half a frame later than asked: a key frame at that very time must not be missed by rounding.
                self._container.seek(
                    round((time_s + half_s / 2) / self._tick_s), stream=self._stream, backward=True
                )
                self._frames = self._container.decode(self._stream)
            for frame in self._frames:
                self.decoded += 1
                self._last_s = frame.pts * self._tick_s
                if self._last_s >= time_s - half_s:
                    if self._last_s > time_s + half_s:
                        break
                    return self._reformatter.reformat(
                        frame, format="rgb24", interpolation=_TO_RGB
                    ).to_ndarray()
        except (av.error.FFmpegError, OSError) as error:
            self._frames = None
            raise UserError(
                f"{self.path}: the video is damaged at {time_s:.3f} s ({error}); convert again."
            ) from error
        self._frames = None
        raise UserError(
            f"{self.path}: there is no frame at {time_s:.3f} s; restore the video or convert again."
        )


class DecoderCache:
    """Keeps the videos open that were used last. For one thread: a decoder has a position."""

    def __init__(self, capacity: int = _OPEN_VIDEOS):
        self._capacity = capacity
        self._decoders: OrderedDict[Path, VideoDecoder] = OrderedDict()

    def decoder(self, path: Path) -> VideoDecoder:
        """The decoder of a file, opened if it is not yet."""
        decoder = self._decoders.pop(path, None) or VideoDecoder(path)
        self._decoders[path] = decoder
        while len(self._decoders) > self._capacity:
            self._decoders.popitem(last=False)[1].close()
        return decoder

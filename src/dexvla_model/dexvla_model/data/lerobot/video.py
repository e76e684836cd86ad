"""MP4 files of one camera: encoding frame by frame, and joining files without encoding again.

Every second frame is a key frame by default, as in LeRobot, so that any frame is at most one further decode
away. H.264 is the default codec: it encodes several times as fast as LeRobot's AV1 setting at pictures that
are as good (docs/performance.md). With a key frame at every second place there is little motion to search
for, so that x264's fastest preset loses little but its entropy coder, which is switched on again.
"""

import queue
import threading
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.video.reformatter import Interpolation

from dexvla_model.errors import UserError

# Codec -> FFmpeg's encoder, and the tuning that the figures in docs/performance.md are of.
_ENCODERS = {"h264": "libx264", "av1": "libsvtav1"}
_PRESETS = {"h264": "ultrafast", "av1": "12"}
_CRF = {"h264": 22, "av1": 30}
CODECS = tuple(_ENCODERS)
# Frames that may wait for an encoding thread.
_QUEUE_LENGTH = 8


@dataclass(frozen=True)
class VideoSettings:
    """How frames are encoded.

    Attributes:
        codec: `h264` or `av1`.
        keyframe_interval: frames from one key frame to the next; small means fast random access, large small
            files.
        crf: constant rate factor, smaller is better and larger; None for the codec's default.
        preset: of the encoder; None for the codec's default.
    """

    codec: str = "h264"
    keyframe_interval: int = 2
    crf: int | None = None
    preset: str | None = None

    def __post_init__(self) -> None:
        if self.codec not in _ENCODERS:
            raise UserError(f"The video codec is {self.codec!r}, but allowed are {', '.join(CODECS)}.")
        if self.keyframe_interval < 1:
            raise UserError(
                f"The key frame interval is {self.keyframe_interval}, but it has to be 1 or more."
            )

    @property
    def encoder(self) -> str:
        return _ENCODERS[self.codec]

    @property
    def rate_factor(self) -> int:
        return _CRF[self.codec] if self.crf is None else self.crf

    @property
    def speed(self) -> str:
        return self.preset or _PRESETS[self.codec]

    def options(self) -> dict[str, str]:
        """Options for FFmpeg. One thread per encoder: cameras and episodes are what runs in parallel."""
        shared = {"g": str(self.keyframe_interval), "crf": str(self.rate_factor), "preset": self.speed}
        if self.codec == "av1":
            return shared | {"svtav1-params": "lp=1"}
        # No B-frames: frames come out in the order in which they went in, and seeking is exact.
        return shared | {"bf": "0", "threads": "1", "x264-params": "cabac=1"}

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def pixel_format(width: int, height: int) -> str:
    """4:2:0 halves both sides of the colour planes, so an odd size needs 4:4:4."""
    return "yuv420p" if width % 2 == 0 and height % 2 == 0 else "yuv444p"


class VideoWriter:
    """Encodes (H, W, 3) uint8 RGB frames, in order, into one MP4 of constant frame rate."""

    def __init__(self, path: Path, width: int, height: int, fps: float, settings: VideoSettings):
        if settings.codec == "av1" and pixel_format(width, height) != "yuv420p":
            raise UserError(
                f"The pictures are {width} x {height} pixels, but AV1 needs even sides; take h264."
            )
        self._container = av.open(str(path), "w")
        rate = Fraction(fps).limit_denominator(1_000_000)
        self._stream = self._container.add_stream(settings.encoder, rate=rate, options=settings.options())
        self._stream.width, self._stream.height = width, height
        self._stream.pix_fmt = pixel_format(width, height)
        self._stream.codec_context.time_base = 1 / rate
        self.frames = 0

    def add(self, image: np.ndarray) -> None:
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
        # Averaging keeps more of the colour than the default where 4:2:0 halves it.
        frame = frame.reformat(format=self._stream.pix_fmt, interpolation=Interpolation.AREA)
        frame.pts = self.frames
        frame.time_base = self._stream.codec_context.time_base
        self._container.mux(self._stream.encode(frame))
        self.frames += 1

    def close(self) -> None:
        """Write what is still in the encoder; the file is whole from here on."""
        try:
            if self.frames:
                self._container.mux(self._stream.encode())
        finally:
            self._container.close()


class VideoThread:
    """A `VideoWriter` in a thread of its own: encoding leaves the interpreter to others.

    An error of the encoder is raised by the next call.
    """

    def __init__(self, writer: VideoWriter):
        self._writer = writer
        self._frames: queue.Queue[np.ndarray | None] = queue.Queue(_QUEUE_LENGTH)
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="video_encoder", daemon=True)
        self._thread.start()

    def add(self, image: np.ndarray) -> None:
        self._raise_error()
        self._frames.put(image)

    def close(self) -> None:
        """Wait until everything is encoded and the file is whole."""
        self._frames.put(None)
        self._thread.join()
        self._raise_error()

    def _run(self) -> None:
        while (image := self._frames.get()) is not None:
            # After an error the queue is emptied all the same: whoever feeds it must not wait for ever.
            if self._error is None:
                self._guard(self._writer.add, image)
        self._guard(self._writer.close)

    def _guard(self, call: Callable[..., None], *arguments: np.ndarray) -> None:
        try:
            call(*arguments)
        except Exception as error:  # raised in the caller's thread
            self._error = self._error or error

    def _raise_error(self) -> None:
        if self._error is not None:
            raise self._error


@dataclass(frozen=True)
class VideoFacts:
    """What the header of an MP4 says of its first video stream."""

    frames: int
    duration_s: float
    fps: float
    width: int
    height: int
    codec: str
    pixel_format: str


def read_video_facts(path: Path) -> VideoFacts:
    """Read a video's header; no frame is decoded.

    Raises:
        UserError: the file is missing, damaged or holds no video.
    """
    try:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            rate = stream.average_rate or stream.base_rate
            duration_s = (
                float(stream.duration * stream.time_base) if stream.duration else container.duration / 1e6
            )
            return VideoFacts(
                frames=stream.frames,
                duration_s=duration_s,
                fps=float(rate),
                width=stream.width,
                height=stream.height,
                codec=stream.codec.canonical_name,
                pixel_format=stream.pix_fmt,
            )
    except (av.error.FFmpegError, OSError, IndexError, TypeError) as error:
        raise UserError(
            f"{path}: this is no readable video ({error}); restore the file or convert again."
        ) from error


def video_information(path: Path, settings: VideoSettings | None = None) -> dict[str, Any]:
    """The `info` of a video feature as LeRobot writes it into `meta/info.json`."""
    facts = read_video_facts(path)
    fps = int(facts.fps) if facts.fps.is_integer() else facts.fps
    information = {
        "video.height": facts.height,
        "video.width": facts.width,
        "video.codec": facts.codec,
        "video.pix_fmt": facts.pixel_format,
        "video.fps": fps,
        "video.channels": 3,
        "has_audio": False,
    }
    if settings is not None:
        information |= {
            "video.g": settings.keyframe_interval,
            "video.crf": settings.rate_factor,
            "video.preset": int(settings.speed) if settings.speed.isdigit() else settings.speed,
            "video.fast_decode": 0,
            "video.video_backend": "pyav",
            "video.extra_options": {},
        }
    return information | {"is_depth_map": False}


def join_videos(parts: Sequence[Path], frames: Sequence[int], fps: float, out: Path) -> None:
    """Copy the packets of several MP4 of one camera into one file, the n-th frame of all at n / fps s.

    Args:
        parts: files that the same settings encoded. frames: how many each holds.

    Raises:
        UserError: a part is damaged, or holds another number of frames.
    """
    rate = Fraction(fps).limit_denominator(1_000_000)
    done = 0
    with av.open(str(out), "w", options={"movflags": "faststart"}) as joined:
        stream = None
        for part, expected in zip(parts, frames, strict=True):
            count = 0
            try:
                with av.open(str(part)) as container:
                    source = container.streams.video[0]
                    if stream is None:
                        stream = joined.add_stream_from_template(source, opaque=True)
                        stream.time_base = source.time_base
                    # Ticks of the output; each part begins exactly where the frames before it end.
                    begin = round(done / rate / stream.time_base)
                    first = None
                    for packet in container.demux(source):
                        if packet.size == 0:
                            continue
                        if first is None:
                            first = packet.pts
                        ratio = packet.time_base / stream.time_base
                        packet.pts = begin + round((packet.pts - first) * ratio)
                        packet.dts = begin + round((packet.dts - first) * ratio)
                        packet.duration = round((packet.duration or 0) * ratio)
                        packet.stream = stream
                        joined.mux(packet)
                        count += 1
            except (av.error.InvalidDataError, IndexError) as error:
                raise UserError(
                    f"{part}: this is no readable video ({error}); convert that episode again."
                ) from error
            if count != expected:
                raise UserError(
                    f"{part}: the video holds {count} frames, but {expected} were expected; convert again."
                )
            done += count

"""The video of an episode: all cameras side by side, the instruction and the sub-step below. No ROS."""

from pathlib import Path

import av
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from dexvla_model.errors import UserError
from dexvla_model.robot import Camera

_BAND_HEIGHT = 56
_MARGIN = 8
_BACKGROUND = (20, 22, 26)
_INSTRUCTION_COLOUR = (165, 172, 184)
_SUB_STEP_COLOUR = (255, 255, 255)


class EpisodeVideo:
    """Writes an mp4 (H.264, or MPEG-4 part 2 where that is not built in) in simulated time.

    A frame is written for every image of the first camera, with the newest image of the others.

    Args:
        path: the file; its folder is made.
        cameras: shown from left to right, in native size; the first one's rate is the video's.
        instruction: burnt into every frame.

    Raises:
        UserError: the file cannot be written.
    """

    def __init__(self, path: Path, cameras: tuple[Camera, ...], instruction: str) -> None:
        self.path = path
        self._cameras = cameras
        self._instruction = instruction
        self._sub_step = ""
        self._images: dict[str, np.ndarray] = {}
        self._start_s: float | None = None
        self._last_frame = -1
        self._fps = round(cameras[0].rate_hz)
        self._font = ImageFont.load_default(size=17)
        self._small_font = ImageFont.load_default(size=14)
        # H.264 wants even sizes.
        self._width = sum(camera.width for camera in cameras) // 2 * 2
        self._height = (max(camera.height for camera in cameras) + _BAND_HEIGHT + 1) // 2 * 2
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._container = av.open(str(path), "w", options={"movflags": "+faststart"})
        except OSError as error:
            raise UserError(f"--output: {path} cannot be written ({error}); name another folder.") from error
        codec = "libx264" if "libx264" in av.codecs_available else "mpeg4"
        self._stream = self._container.add_stream(codec, rate=self._fps)
        self._stream.width, self._stream.height, self._stream.pix_fmt = self._width, self._height, "yuv420p"
        # One thread and a fast preset: the machine is needed for the robot.
        self._stream.thread_count = 1
        self._stream.options = {"preset": "veryfast", "crf": "20"} if codec == "libx264" else {"q": "3"}

    def say(self, sub_step: str) -> None:
        """The sub-step shown from now on."""
        self._sub_step = sub_step

    def add(self, role: str, stamp_s: float, image: np.ndarray) -> None:
        """Take an image (H, W, 3) uint8 RGB of a camera, captured at `stamp_s`."""
        self._images[role] = image
        if role != self._cameras[0].role or len(self._images) < len(self._cameras):
            return
        if self._start_s is None:
            self._start_s = stamp_s
        number = round((stamp_s - self._start_s) * self._fps)
        if number <= self._last_frame:
            return
        self._last_frame = number
        frame = av.VideoFrame.from_ndarray(self._compose(), format="rgb24")
        frame.pts = number
        self._container.mux(self._stream.encode(frame))

    def close(self) -> None:
        """Finish the file; one without a frame is removed."""
        self._container.mux(self._stream.encode())
        self._container.close()
        if self._last_frame < 0:
            self.path.unlink(missing_ok=True)

    def _compose(self) -> np.ndarray:
        canvas = Image.new("RGB", (self._width, self._height), _BACKGROUND)
        left = 0
        for camera in self._cameras:
            image = Image.fromarray(np.ascontiguousarray(self._images[camera.role]))
            canvas.paste(image, (left, 0))
            left += camera.width
        draw = ImageDraw.Draw(canvas)
        top = self._height - _BAND_HEIGHT + _MARGIN
        draw.text((_MARGIN, top), self._instruction, _INSTRUCTION_COLOUR, self._small_font)
        draw.text((_MARGIN, top + 20), self._sub_step, _SUB_STEP_COLOUR, self._font)
        return np.asarray(canvas)

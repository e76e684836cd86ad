"""Pictures of the world through the robot's cameras."""

import math

import numpy as np

from dexvla_model.robot import Camera
from dexvla_sim.engine import mujoco, rendering_error


class CameraRenderer:
    """Renders cameras of one model, one OpenGL context for each picture size."""

    def __init__(self, model: mujoco.MjModel) -> None:
        self._model = model
        self._renderers: dict[tuple[int, int], mujoco.Renderer] = {}

    def render(self, data: mujoco.MjData, camera: Camera) -> np.ndarray:
        """(camera.height, camera.width, 3) uint8 RGB.

        Raises:
            UserError: OpenGL cannot start.
        """
        renderer = self._renderer(camera.width, camera.height)
        renderer.update_scene(data, camera=camera.role)
        return renderer.render()

    def segment(self, data: mujoco.MjData, camera: Camera) -> np.ndarray:
        """(camera.model_height, camera.model_width) int32: id of the geom that each pixel shows, -1 for none.

        Raises:
            UserError: OpenGL cannot start.
        """
        renderer = self._renderer(camera.model_width, camera.model_height)
        renderer.enable_segmentation_rendering()
        try:
            renderer.update_scene(data, camera=camera.role)
            ids = renderer.render()
        finally:
            renderer.disable_segmentation_rendering()
        return np.where(ids[..., 1] == int(mujoco.mjtObj.mjOBJ_GEOM), ids[..., 0], -1)

    def matrix(self, camera: Camera) -> np.ndarray:
        """(3, 3) pinhole camera matrix in pixels, pixel centres at whole numbers (as in camera_info)."""
        half_fov = math.radians(float(self._model.camera(camera.role).fovy[0])) / 2.0
        focal = camera.height / 2.0 / math.tan(half_fov)
        return np.array(
            [[focal, 0.0, (camera.width - 1) / 2.0], [0.0, focal, (camera.height - 1) / 2.0], [0.0, 0.0, 1.0]]
        )

    def close(self) -> None:
        """Free the OpenGL contexts."""
        for renderer in self._renderers.values():
            renderer.close()
        self._renderers.clear()

    def _renderer(self, width: int, height: int) -> mujoco.Renderer:
        if (width, height) not in self._renderers:
            # The framebuffer is the model's: it must be at least as large as the picture.
            buffer = self._model.vis.global_
            buffer.offwidth, buffer.offheight = max(buffer.offwidth, width), max(buffer.offheight, height)
            try:
                renderer = mujoco.Renderer(self._model, height, width)
            except Exception as error:  # every OpenGL platform raises classes of its own
                raise rendering_error(error) from error
            for flag in (mujoco.mjtRndFlag.mjRND_SHADOW, mujoco.mjtRndFlag.mjRND_REFLECTION):
                renderer.scene.flags[flag] = False
            self._renderers[width, height] = renderer
        return self._renderers[width, height]

"""What changes from episode to episode in how the world looks: light, surfaces, and how cameras are mounted."""

import numpy as np

from dexvla_sim.engine import mujoco

# Of all lights together, relative to the world's own.
BRIGHTNESS = (0.85, 1.15)
# Of each light and colour channel beside that, and of the colour of table and floor.
_TINT = 0.04
_SURFACE_TINT = 0.05
# Standard deviation of where a light shines, per axis of a direction of length 1.
_LIGHT_DIRECTION = 0.08
# A mount that was screwed on again: standard deviations per axis.
_CAMERA_POSITION_M = 0.003
_CAMERA_ROTATION_RAD = 0.006
_SURFACES = ("table", "floor")


class Appearance:
    """Changes light, surfaces and cameras of a model around what they were when this was made."""

    def __init__(self, model: mujoco.MjModel) -> None:
        self._model = model
        self._light_diffuse = model.light_diffuse.copy()
        self._light_dir = model.light_dir.copy()
        self._camera_pos = model.cam_pos.copy()
        self._camera_quat = model.cam_quat.copy()
        self._surfaces = [model.geom(name).id for name in _SURFACES]
        self._surface_rgba = model.geom_rgba[self._surfaces].copy()

    def randomise(self, brightness: float, generator: np.random.Generator) -> None:
        """A new look.

        Args:
            brightness: of all lights, relative to the world's own.
            generator: draws everything else.
        """
        model = self._model
        tint = generator.uniform(1.0 - _TINT, 1.0 + _TINT, self._light_diffuse.shape)
        model.light_diffuse[:] = brightness * tint * self._light_diffuse
        directions = self._light_dir + generator.normal(0.0, _LIGHT_DIRECTION, self._light_dir.shape)
        model.light_dir[:] = directions / np.linalg.norm(directions, axis=1, keepdims=True)
        colours = self._surface_rgba[:, :3] * generator.uniform(
            1.0 - _SURFACE_TINT, 1.0 + _SURFACE_TINT, (len(self._surfaces), 3)
        )
        model.geom_rgba[self._surfaces, :3] = np.clip(colours, 0.0, 1.0)
        model.cam_pos[:] = self._camera_pos + generator.normal(0.0, _CAMERA_POSITION_M, self._camera_pos.shape)
        for camera in range(model.ncam):
            turn = np.zeros(4)
            rotation = generator.normal(0.0, _CAMERA_ROTATION_RAD, 3)
            angle = float(np.linalg.norm(rotation))
            mujoco.mju_axisAngle2Quat(turn, rotation / angle, angle)
            mujoco.mju_mulQuat(model.cam_quat[camera], self._camera_quat[camera], turn)

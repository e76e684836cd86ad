"""Open boxes that things are put into."""

from dataclasses import dataclass

import numpy as np

from dexvla_sim.engine import mujoco


@dataclass(frozen=True)
class Container:
    """A box without a lid that stands on the table; its body's origin is the middle of its underside.

    Attributes:
        centre_m: where it stands usually, (x, y) in base_link.
        half_extents_m: along x and y, walls included.
    """

    name: str
    centre_m: tuple[float, float]
    half_extents_m: tuple[float, float]
    rgba: tuple[float, float, float, float]
    wall_height_m: float = 0.030
    wall_thickness_m: float = 0.005
    floor_thickness_m: float = 0.004

    def build(self, spec: mujoco.MjSpec) -> None:
        """Add it to the world; it does not move but can be placed anew in every episode."""
        body = spec.worldbody.add_body(name=self.name, pos=(*self.centre_m, 0.0), mocap=True)
        half_x, half_y = self.half_extents_m
        wall, floor, height = self.wall_thickness_m / 2, self.floor_thickness_m / 2, self.wall_height_m / 2
        boxes = {
            "floor": ((0.0, 0.0, floor), (half_x, half_y, floor)),
            "wall_left": ((0.0, half_y - wall, height), (half_x, wall, height)),
            "wall_right": ((0.0, wall - half_y, height), (half_x, wall, height)),
            "wall_far": ((half_x - wall, 0.0, height), (wall, half_y, height)),
            "wall_near": ((wall - half_x, 0.0, height), (wall, half_y, height)),
        }
        for part, (position, size) in boxes.items():
            box = body.add_geom(name=f"{self.name}_{part}", pos=position, size=size, rgba=self.rgba)
            box.type = mujoco.mjtGeom.mjGEOM_BOX

    def place(self, model: mujoco.MjModel, data: mujoco.MjData, jitter_m: np.ndarray) -> None:
        """Put it beside its usual place by (2,) m."""
        data.mocap_pos[model.body(self.name).mocapid[0], :2] = self.centre_m + jitter_m

    def is_above(self, data: mujoco.MjData, position: np.ndarray) -> bool:
        """Whether `position` (3,) is within the walls as seen from above, whatever the height."""
        offset = position[:2] - data.body(self.name).xpos[:2]
        return bool((np.abs(offset) < np.array(self.half_extents_m) - self.wall_thickness_m).all())

    def is_inside(self, data: mujoco.MjData, position: np.ndarray, half_height_m: float) -> bool:
        """Whether a thing whose middle is `position` (3,) has its bottom below the rim: in it, not above."""
        height = position[2] - data.body(self.name).xpos[2]
        return bool(height < self.wall_height_m + half_height_m) and self.is_above(data, position)

    def geoms(self, model: mujoco.MjModel) -> list[int]:
        """Ids of its geoms."""
        body = model.body(self.name)
        return list(range(int(body.geomadr[0]), int(body.geomadr[0] + body.geomnum[0])))

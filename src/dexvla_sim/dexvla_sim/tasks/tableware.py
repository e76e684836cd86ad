"""What stands on a table after a meal: tableware and rubbish, in simple shapes, each kind in its own colour.

All of them are gripped between two opposite sides, at the same height over the table, by fingers that open
along y. A body's origin is that place: `GRIP_HEIGHT_M` over its underside, in the middle.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from dexvla_sim.engine import mujoco

GRIP_HEIGHT_M = 0.020
MASS_KG = 0.05
# Sliding, torsional (m) and rolling (m): what is round and lies on its side does not roll far.
_FRICTION = (0.8, 0.01, 0.002)
# Of moving (N s/m) and of turning (N m s/rad): what leans on an edge comes to rest instead of trembling.
_DAMPING = 1e-3
_GREY = (0.72, 0.73, 0.75, 1.0)
_Rgba = tuple[float, float, float, float]


@dataclass(frozen=True)
class Kind:
    """One kind of thing.

    Attributes:
        place: where it belongs, "tray" or "bin". half_width_m: half of what the fingers close on.
        colour: the name of the colour that comes closest to `rgba`.
        shape: adds its geoms to a body whose underside is at z = -GRIP_HEIGHT_M.
    """

    name: str
    place: str
    half_width_m: float
    colour: str
    rgba: _Rgba
    shape: Callable[["Kind", mujoco.MjsBody], None]

    def build(self, spec: mujoco.MjSpec) -> None:
        """Add a body of that name that moves freely."""
        body = spec.worldbody.add_body(name=self.name)
        body.add_freejoint(name=f"{self.name}_joint").damping = (_DAMPING, 0.0, 0.0)
        self.shape(self, body)


def _solid(
    body: mujoco.MjsBody, kind: mujoco.mjtGeom, size: tuple[float, ...], z: float, rgba: _Rgba, **more: Any
) -> None:
    """A part that carries a share of the mass by its volume and meets other things."""
    options = {"pos": (0.0, 0.0, z), "condim": 6, "friction": _FRICTION, "density": 1000.0} | more
    body.add_geom(type=kind, size=size, rgba=rgba, **options)


def _drawn(
    body: mujoco.MjsBody, kind: mujoco.mjtGeom, size: tuple[float, ...], rgba: _Rgba, **more: Any
) -> None:
    """A part that is only seen."""
    body.add_geom(type=kind, size=size, rgba=rgba, contype=0, conaffinity=0, density=0.0, **more)


def _darker(rgba: _Rgba, share: float = 0.45) -> _Rgba:
    return (rgba[0] * share, rgba[1] * share, rgba[2] * share, 1.0)


def _cup(kind: Kind, body: mujoco.MjsBody) -> None:
    _upright(kind, body, height=0.048, top=_darker(kind.rgba))
    box = mujoco.mjtGeom.mjGEOM_BOX
    _solid(body, box, (0.007, 0.003, 0.011), 0.0, kind.rgba, pos=(kind.half_width_m + 0.005, 0.0, 0.004))


def _bowl(kind: Kind, body: mujoco.MjsBody) -> None:
    _upright(kind, body, height=0.034, top=_darker(kind.rgba))


def _dish(kind: Kind, body: mujoco.MjsBody) -> None:
    """A flat dish under a lid with square sides."""
    _solid(body, mujoco.mjtGeom.mjGEOM_CYLINDER, (0.031, 0.004), 0.004 - GRIP_HEIGHT_M, kind.rgba)
    half = kind.half_width_m
    _solid(body, mujoco.mjtGeom.mjGEOM_BOX, (half, half, 0.016), 0.024 - GRIP_HEIGHT_M, kind.rgba)
    top = (half - 0.005, half - 0.005, 0.001)
    _drawn(body, mujoco.mjtGeom.mjGEOM_BOX, top, _GREY, pos=(0.0, 0.0, 0.0405 - GRIP_HEIGHT_M))


def _can(kind: Kind, body: mujoco.MjsBody) -> None:
    _upright(kind, body, height=0.050, top=_GREY)


def _carton(kind: Kind, body: mujoco.MjsBody) -> None:
    """A drink's carton with a folded top."""
    half = kind.half_width_m
    _solid(body, mujoco.mjtGeom.mjGEOM_BOX, (half, half, 0.022), 0.022 - GRIP_HEIGHT_M, kind.rgba)
    fold, place = (half, 0.003, 0.005), (0.0, 0.0, 0.047 - GRIP_HEIGHT_M)
    _drawn(body, mujoco.mjtGeom.mjGEOM_BOX, fold, _darker(kind.rgba, 0.7), pos=place)


def _napkin(kind: Kind, body: mujoco.MjsBody) -> None:
    """Crumpled: a block inside, seen with folds that stick out a little."""
    box, half = mujoco.mjtGeom.mjGEOM_BOX, kind.half_width_m
    _solid(body, box, (half, half, 0.018), 0.018 - GRIP_HEIGHT_M, kind.rgba)
    for share, turn_rad in ((0.9, (0.35, 0.6, 0.5)), (0.75, (0.7, 0.25, 1.0)), (1.1, (0.5, -0.7, 0.2))):
        orientation = np.empty(4)
        mujoco.mju_euler2Quat(orientation, turn_rad, "xyz")
        _drawn(body, box, (0.85 * half,) * 3, _darker(kind.rgba, share), quat=orientation)


def _upright(kind: Kind, body: mujoco.MjsBody, height: float, top: _Rgba) -> None:
    """A standing cylinder whose upper face has another colour."""
    cylinder, radius = mujoco.mjtGeom.mjGEOM_CYLINDER, kind.half_width_m
    _solid(body, cylinder, (radius, height / 2), height / 2 - GRIP_HEIGHT_M, kind.rgba)
    _drawn(body, cylinder, (radius - 0.004, 0.0005), top, pos=(0.0, 0.0, height - GRIP_HEIGHT_M))


# Tableware in cold colours, rubbish in warm ones and green: told apart in few pixels.
KINDS = (
    Kind("cup", "tray", 0.020, "darkturquoise", (0.05, 0.70, 0.78, 1.0), _cup),
    Kind("bowl", "tray", 0.023, "royalblue", (0.10, 0.26, 0.84, 1.0), _bowl),
    Kind("dish", "tray", 0.019, "darkorchid", (0.52, 0.16, 0.74, 1.0), _dish),
    Kind("can", "bin", 0.020, "crimson", (0.84, 0.10, 0.10, 1.0), _can),
    Kind("carton", "bin", 0.020, "gold", (0.96, 0.80, 0.08, 1.0), _carton),
    Kind("napkin", "bin", 0.020, "forestgreen", (0.10, 0.62, 0.20, 1.0), _napkin),
)

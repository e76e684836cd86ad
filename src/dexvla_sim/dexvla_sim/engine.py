"""MuJoCo, imported so that it renders without a display.

Import `mujoco` from here and nowhere else: which OpenGL it uses is decided once, before its first import.
The environment variable MUJOCO_GL overrides the choice (egl, osmesa, glfw; `disabled` for physics alone).
"""

import os

from dexvla_model.errors import UserError

os.environ.setdefault("MUJOCO_GL", "egl")


def rendering_error(problem: object) -> UserError:
    """What to tell the user when no picture can be rendered."""
    backend = os.environ.get("MUJOCO_GL")
    return UserError(
        f"MuJoCo cannot render with MUJOCO_GL={backend} ({problem}); install the packages libegl1 and libgl1 "
        "(Debian, Ubuntu: sudo apt-get install libegl1 libgl1), or set MUJOCO_GL to osmesa or glfw."
    )


try:
    import mujoco
except (ImportError, AttributeError, RuntimeError, OSError) as error:
    raise rendering_error(error) from error

__all__ = ["mujoco", "rendering_error"]

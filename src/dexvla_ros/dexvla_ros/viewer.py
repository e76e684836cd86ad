"""The simulated world in a window."""

import os
import warnings
from typing import TYPE_CHECKING

from dexvla_model.errors import UserError

if TYPE_CHECKING:
    from mujoco.viewer import Handle

    from dexvla_sim.simulation import Simulation


def check_display() -> None:
    """Raises UserError if there is no display, or it cannot be opened."""
    if not os.environ.get("DISPLAY") and not os.environ.get("WAYLAND_DISPLAY"):
        raise UserError(
            "--viewer needs a display, and neither DISPLAY nor WAYLAND_DISPLAY is set; leave --viewer away, "
            "or start from a desktop session (or with ssh -X)."
        )
    import glfw

    with warnings.catch_warnings():
        # The binding tells of a failure by a warning as well.
        warnings.simplefilter("ignore")
        opened = glfw.init()
    if not opened:
        display = os.environ.get("DISPLAY") or os.environ["WAYLAND_DISPLAY"]
        raise UserError(f"--viewer: the display {display} cannot be opened; correct DISPLAY or leave --viewer away.")
    glfw.terminate()


def open_viewer(simulation: "Simulation") -> "Handle":
    """Open the window; call `sync` on what is returned to show the newest state, and `close` at the end.

    Raises:
        UserError: there is no display, or no window can be opened on it.
    """
    check_display()
    from mujoco import viewer

    try:
        return viewer.launch_passive(
            simulation.model, simulation.data, show_left_ui=False, show_right_ui=False
        )
    except Exception as error:  # GLFW and the drivers below raise classes of their own
        raise UserError(f"--viewer: no window can be opened ({error}); leave --viewer away.") from error

"""What a recording of commands says about limits and seams. No ROS."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np

from dexvla_model.robot import RobotDescription

# Commands are floats, and limits are reached exactly: this much more is rounding.
TOLERANCE = 1e-3


@dataclass(frozen=True)
class CommandReport:
    """The figures of a recording, over all joints.

    Attributes:
        updates: controller updates recorded. seams: how many of them were the first of a new trajectory.
        position_excess_rad: how far the commands went beyond a position limit.
        velocity_share, acceleration_share, jerk_share: largest command as a share of its limit; velocity also
            from the differences of positions, jerk from those of accelerations.
        seam_velocity_step_rad_s, other_velocity_step_rad_s: largest change of velocity from one update to the
            next, where a new trajectory took over and elsewhere.
    """

    updates: int
    seams: int
    position_excess_rad: float
    velocity_share: float
    acceleration_share: float
    jerk_share: float
    seam_velocity_step_rad_s: float
    other_velocity_step_rad_s: float

    @property
    def within_limits(self) -> bool:
        """No command was beyond any limit."""
        shares = (self.velocity_share, self.acceleration_share, self.jerk_share)
        return self.position_excess_rad <= TOLERANCE and max(shares) <= 1.0 + TOLERANCE

    def to_json(self) -> dict:
        """A JSON-able dict."""
        rounded = {key: round(value, 6) for key, value in asdict(self).items()}
        return {"within_limits": self.within_limits, **rounded}


def report_commands(recording: Mapping[str, np.ndarray], robot: RobotDescription) -> CommandReport:
    """The report of a recording (see `CommandRecorder`) of `robot`'s controllers."""
    limits = [robot.limits[str(joint)] for joint in recording["joints"]]
    positions, velocities = recording["positions_rad"], recording["velocities_rad_s"]
    accelerations = recording["accelerations_rad_s2"]
    lower, upper = (
        np.array([getattr(limit, name) for limit in limits]) for name in ("lower", "upper")
    )
    excess = np.maximum(lower - positions, positions - upper)
    # Across a reset nothing follows from anything.
    step_s = np.diff(recording["times_s"])[:, None]
    counts = np.ones(len(step_s), dtype=bool)
    starts = recording["episode_starts"]
    counts[starts[(starts > 0) & (starts <= len(counts))] - 1] = False
    steps = np.diff(velocities, axis=0)
    is_seam = np.zeros(len(step_s), dtype=bool)
    seams = np.unique(recording["seams"])
    is_seam[seams[(seams > 0) & (seams <= len(is_seam))] - 1] = True
    return CommandReport(
        updates=len(positions),
        seams=len(seams),
        position_excess_rad=max(0.0, _largest(excess)),
        velocity_share=max(
            _share(velocities, limits, "velocity"),
            _share((np.diff(positions, axis=0) / step_s)[counts], limits, "velocity"),
        ),
        acceleration_share=_share(accelerations, limits, "acceleration"),
        jerk_share=_share((np.diff(accelerations, axis=0) / step_s)[counts], limits, "jerk"),
        seam_velocity_step_rad_s=_largest(np.abs(steps[counts & is_seam])),
        other_velocity_step_rad_s=_largest(np.abs(steps[counts & ~is_seam])),
    )


def _share(values: np.ndarray, limits: list, name: str) -> float:
    return _largest(np.abs(values) / np.array([getattr(limit, name) for limit in limits]))


def _largest(values: np.ndarray) -> float:
    return float(values.max()) if values.size else 0.0

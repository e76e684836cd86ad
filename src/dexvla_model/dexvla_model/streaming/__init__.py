"""From action chunks to trajectories that a stock joint_trajectory_controller follows without a seam."""

from dexvla_model.streaming.command_history import CommandHistory, InvalidTrajectory
from dexvla_model.streaming.settings import StreamSettings
from dexvla_model.streaming.spline import Spline
from dexvla_model.streaming.status import ChunkVerdict, Refusal, StreamCounters, StreamState, StreamStatus
from dexvla_model.streaming.streamer import ActionStreamer
from dexvla_model.streaming.trajectory import JointTrajectory

__all__ = [
    "ActionStreamer",
    "ChunkVerdict",
    "CommandHistory",
    "InvalidTrajectory",
    "JointTrajectory",
    "Refusal",
    "Spline",
    "StreamCounters",
    "StreamSettings",
    "StreamState",
    "StreamStatus",
]

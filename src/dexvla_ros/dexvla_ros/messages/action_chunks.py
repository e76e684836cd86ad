"""dexvla_msgs/ActionChunk to the policy's ActionChunk, and back."""

from array import array

import numpy as np

from dexvla_model.observation import InvalidObservation
from dexvla_model.policy import ActionChunk
from dexvla_msgs.msg import ActionChunk as ActionChunkMessage
from dexvla_ros.messages.stamps import stamp_from_message, stamp_to_message


def action_chunk_to_message(
    chunk: ActionChunk, substep_stamp_s: float, inference_s: float, prefix_rows: int
) -> ActionChunkMessage:
    """The message of a chunk, with what it was conditioned on and how long it took."""
    message = ActionChunkMessage(
        joint_names=list(chunk.joints),
        step_s=chunk.step_s,
        rows=chunk.positions.shape[0],
        positions=array("d", np.asarray(chunk.positions, np.float64).ravel()),
        substep_stamp=stamp_to_message(substep_stamp_s),
        inference_s=inference_s,
        prefix_rows=prefix_rows,
    )
    message.header.stamp = stamp_to_message(chunk.stamp_s)
    return message


def action_chunk_from_message(message: ActionChunkMessage) -> ActionChunk:
    """The chunk, positions (T, A) in rad.

    Raises:
        InvalidObservation: the number of positions is not rows x joints.
    """
    shape = (message.rows, len(message.joint_names))
    if len(message.positions) != shape[0] * shape[1]:
        raise InvalidObservation(
            f"an action chunk of {shape[0]} x {shape[1]} came with {len(message.positions)} values"
        )
    return ActionChunk(
        stamp_s=stamp_from_message(message.header.stamp),
        step_s=message.step_s,
        joints=tuple(message.joint_names),
        positions=np.array(message.positions, dtype=np.float64).reshape(shape),
    )

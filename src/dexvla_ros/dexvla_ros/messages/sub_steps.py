"""dexvla_msgs/SubStep to the policy's SubStep, and back."""

from array import array

import numpy as np

from dexvla_model.policy import SubStep
from dexvla_msgs.msg import SubStep as SubStepMessage
from dexvla_ros.messages.stamps import stamp_from_message, stamp_to_message


def sub_step_to_message(
    substep: SubStep, instruction: str, policy: str, episode: int, inference_s: float, status: int
) -> SubStepMessage:
    """The message of a sub-step that came from the policy named `policy`, in the `episode`-th goal."""
    message = SubStepMessage(
        status=status,
        instruction=instruction,
        text=substep.text,
        condition=array("f", np.asarray(substep.condition, np.float32).tobytes()),
        policy=policy,
        inference_s=inference_s,
        episode=episode,
    )
    message.header.stamp = stamp_to_message(substep.stamp_s)
    return message


def stopped_message(stamp_s: float, instruction: str, policy: str, episode: int) -> SubStepMessage:
    """Tells the action node to decelerate and hold."""
    message = SubStepMessage(
        status=SubStepMessage.STOPPED, instruction=instruction, policy=policy, episode=episode
    )
    message.header.stamp = stamp_to_message(stamp_s)
    return message


def sub_step_from_message(message: SubStepMessage) -> SubStep:
    """The policy's sub-step."""
    return SubStep(
        text=message.text,
        condition=np.array(message.condition, dtype=np.float32),
        stamp_s=stamp_from_message(message.header.stamp),
        finished=message.status == SubStepMessage.FINISHED,
    )

"""sensor_msgs/CameraInfo of an ideal pinhole camera."""

import numpy as np
from sensor_msgs.msg import CameraInfo

from dexvla_model.robot import Camera
from dexvla_ros.messages.stamps import stamp_to_message


def camera_info_message(camera: Camera, matrix: np.ndarray, stamp_s: float) -> CameraInfo:
    """The camera_info that goes with an image.

    Args:
        matrix: (3, 3) intrinsic matrix for camera.width x camera.height, in pixels.
        stamp_s: the image's capture time in s.
    """
    message = CameraInfo(
        height=camera.height,
        width=camera.width,
        distortion_model="plumb_bob",
        d=[0.0] * 5,
        k=matrix.astype(np.float64).ravel(),
        r=np.eye(3).ravel(),
        p=np.hstack([matrix, np.zeros((3, 1))]).astype(np.float64).ravel(),
    )
    message.header.stamp = stamp_to_message(stamp_s)
    message.header.frame_id = camera.frame
    return message

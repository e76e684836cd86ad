"""The drivers of real cameras, on the topics that the robot file names."""

from collections.abc import Mapping

from dexvla_model.errors import UserError
from dexvla_model.robot import Camera, RobotDescription
from dexvla_ros.bringup import NodeProcess
from dexvla_ros.foreign import ForeignNode

NONE, REALSENSE, USB, OURS = "none", "realsense", "usb", "ours"
CAMERAS = (NONE, REALSENSE, USB, OURS)
# Frames per second that a RealSense colour sensor has.
_REALSENSE_HZ = (6, 15, 30, 60)


def camera_nodes(
    kind: str, robot: RobotDescription, devices: Mapping[str, str]
) -> tuple[tuple[ForeignNode, ...], tuple[NodeProcess, ...]]:
    """The nodes of other packages, and our own, that publish the robot's cameras.

    Args:
        kind: one of `CAMERAS`. devices: serial number (realsense) or device (usb, ours) by the camera's role.

    Raises:
        UserError: a device is given for a camera that the robot lacks, or cameras could not be told apart.
    """
    roles = [camera.role for camera in robot.cameras]
    for role in devices:
        if role not in roles:
            raise UserError(
                f"camera_devices names the camera {role!r}, but the cameras of {robot.path} are "
                f"{', '.join(roles)}; correct the role."
            )
    if kind == NONE:
        return (), ()
    if len(roles) > 1 and set(devices) != set(roles):
        missing = [role for role in roles if role not in devices]
        example = "123456789" if kind == REALSENSE else "/dev/video0"
        raise UserError(
            f"camera_devices does not say which device is {', '.join(missing)} of {robot.path}; give "
            f"{','.join(f'{role}={example}' for role in missing)} with your own."
        )
    if kind == OURS:
        given = [f"{role}={device}" for role, device in devices.items()]
        return (), (NodeProcess("webcam_node", {"robot": str(robot.path), "devices": given}),)
    make = _realsense if kind == REALSENSE else _usb
    return tuple(make(camera, devices.get(camera.role, "")) for camera in robot.cameras), ()


def _image_topic(camera: Camera) -> str:
    """The topic of the raw images; image_transport puts compressed ones below it."""
    return camera.topic.removesuffix("/compressed")


def _realsense(camera: Camera, serial: str) -> ForeignNode:
    rate_hz = next((rate for rate in _REALSENSE_HZ if rate >= camera.rate_hz), _REALSENSE_HZ[-1])
    topic = _image_topic(camera)
    return ForeignNode(
        package="realsense2_camera",
        executable="realsense2_camera_node",
        label=f"camera_{camera.role}",
        name=camera.role,
        namespace="realsense",
        parameters={
            "camera_name": camera.role,
            # The underscore keeps a number from being one.
            "serial_no": f"_{serial}" if serial else "",
            "rgb_camera.color_profile": f"{camera.width},{camera.height},{rate_hz}",
            "rgb_camera.color_format": "RGB8",
            "enable_color": True,
            "enable_depth": False,
            "enable_infra1": False,
            "enable_infra2": False,
        },
        remappings={
            "~/color/image_raw": topic,
            "~/color/image_raw/compressed": f"{topic}/compressed",
            "~/color/camera_info": camera.info_topic,
        },
    )


def _usb(camera: Camera, device: str) -> ForeignNode:
    topic = _image_topic(camera)
    return ForeignNode(
        package="usb_cam",
        executable="usb_cam_node_exe",
        label=f"camera_{camera.role}",
        name=f"{camera.role}_camera",
        parameters={
            "video_device": device or "/dev/video0",
            "image_width": camera.width,
            "image_height": camera.height,
            "framerate": camera.rate_hz,
            "pixel_format": "mjpeg2rgb",
            "frame_id": camera.frame,
            "camera_name": camera.role,
        },
        remappings={
            "image_raw": topic,
            "image_raw/compressed": f"{topic}/compressed",
            "camera_info": camera.info_topic,
        },
    )

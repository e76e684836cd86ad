"""Reading config/drivers/*.yaml: which device, how it is driven, and whether the robot has its joints."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dexvla_model.errors import UserError
from dexvla_model.resources import find_resource
from dexvla_model.robot import RobotDescription
from dexvla_model.yaml_reader import MappingReader, parse_yaml
from dexvla_ros.drivers.device import Device
from dexvla_ros.drivers.driver_settings import DriverSettings, JointBounds
from dexvla_ros.drivers.inspire import read_inspire
from dexvla_ros.drivers.leap import read_leap
from dexvla_ros.drivers.piper import read_piper

_READERS: dict[str, Callable[[MappingReader, Sequence[str], str], Device]] = {
    "piper": read_piper,
    "inspire": read_inspire,
    "leap": read_leap,
}
DEVICES = tuple(_READERS)


@dataclass(frozen=True)
class DriverFile:
    """What a driver file and a robot file say together: the device is not connected yet."""

    device: Device
    settings: DriverSettings
    bounds: JointBounds


def load_driver(
    kind: str, robot: RobotDescription, path: str = "", port: str = "", joint_prefix: str = ""
) -> DriverFile:
    """Read a driver file.

    Args:
        kind: piper, inspire or leap.
        path: the file; empty = config/drivers/KIND.yaml.
        port: replaces the file's CAN channel, serial port or HOST:PORT.
        joint_prefix: put before every joint's name, such as `left_`.

    Raises:
        UserError: no such file, an error in it, a joint that the robot lacks, or a library that is missing.
    """
    reader = _read_file(kind, path)
    file_joints = reader.texts("joints")
    settings = _read_settings(reader.mapping("driver"))
    device = _READERS[kind](reader, file_joints, port)
    reader.finish()
    device.joints = tuple(joint_prefix + joint for joint in file_joints)
    missing = [joint for joint in device.joints if joint not in robot.limits]
    if missing:
        allowed = f"the joints of {robot.path} are {', '.join(robot.limits)}"
        raise reader.error("joints", f"one with {missing[0]}", allowed)
    limits = [robot.limits[joint] for joint in device.joints]
    bounds = JointBounds(
        lower=np.array([limit.lower for limit in limits]),
        upper=np.array([limit.upper for limit in limits]),
        velocity=np.array([limit.velocity for limit in limits]),
    )
    return DriverFile(device, settings, bounds)


def _read_file(kind: str, path: str) -> MappingReader:
    file = Path(path) if path else find_resource(f"config/drivers/{kind}.yaml")
    try:
        reader = parse_yaml(file.read_text(encoding="utf-8"), file)
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{file}: the driver file cannot be read ({error}); correct the path.") from error
    meant = reader.text("device", allowed=DEVICES)
    if meant != kind:
        raise reader.error("device", repr(meant), f"this node drives {kind}")
    return reader


def _read_settings(reader: MappingReader) -> DriverSettings:
    settings = DriverSettings(
        rate_hz=reader.number("rate_hz", 1.0, 500.0),
        command_timeout_s=reader.number("command_timeout_s", 0.01, 10.0),
        misses_max=reader.integer("misses_max", 1, 1000),
        reconnect_first_s=reader.number("reconnect_first_s", 0.01, 60.0),
        reconnect_max_s=reader.number("reconnect_max_s", 0.01, 600.0),
        auto_enable=reader.boolean("auto_enable"),
        catch_up=reader.number("catch_up", 0.01, 1.0),
        plausible_margin=reader.number("plausible_margin", 0.0, 10.0),
        temperature_warn_c=reader.number("temperature_warn_c", 20.0, 150.0),
        temperature_max_c=reader.number("temperature_max_c", 20.0, 150.0),
    )
    for low, high in (("temperature_warn_c", "temperature_max_c"), ("reconnect_first_s", "reconnect_max_s")):
        if getattr(settings, low) > getattr(settings, high):
            raise reader.error(low, f"{getattr(settings, low):g}", f"it may not be more than {high}")
    reader.finish()
    return settings

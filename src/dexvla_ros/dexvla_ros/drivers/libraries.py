"""The libraries of the buses, imported when a device is opened: a machine without it needs none of them."""

import logging
from types import ModuleType

from dexvla_model.errors import UserError


def _missing(package: str, device: str) -> UserError:
    return UserError(
        f"The driver of the {device} needs the Python package {package}, which is not installed; "
        f"run: pip install {package}."
    )


def can_library() -> ModuleType:
    """python-can.

    Raises:
        UserError: it is not installed.
    """
    try:
        import can
    except ImportError as error:
        raise _missing("python-can", "Piper") from error
    logging.getLogger("can").setLevel(logging.CRITICAL)
    return can


def modbus_library() -> ModuleType:
    """pymodbus, with its client for serial ports.

    Raises:
        UserError: it is not installed, or pyserial is not.
    """
    try:
        import pymodbus.client
        import serial  # noqa: F401  # pymodbus looks whether somebody imported it
    except ImportError as error:
        raise _missing("pymodbus[serial]", "Inspire hand") from error
    # What it would log is raised, too, and told by the driver: once.
    logging.getLogger("pymodbus.logging").setLevel(logging.CRITICAL)
    return pymodbus


def dynamixel_library() -> ModuleType:
    """dynamixel_sdk.

    Raises:
        UserError: it is not installed.
    """
    try:
        import dynamixel_sdk
    except ImportError as error:
        raise _missing("dynamixel-sdk", "LEAP hand") from error
    return dynamixel_sdk

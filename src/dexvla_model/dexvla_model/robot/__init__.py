"""The robot file: one YAML that says what a robot is, and the functions that read it."""

from dexvla_model.robot.description import (
    Camera,
    Controller,
    JointLimits,
    LayoutEntry,
    Rates,
    RobotDescription,
    load_robot,
    parse_robot,
)
from dexvla_model.robot.layout import check_same_layout

__all__ = [
    "Camera",
    "Controller",
    "JointLimits",
    "LayoutEntry",
    "Rates",
    "RobotDescription",
    "check_same_layout",
    "load_robot",
    "parse_robot",
]

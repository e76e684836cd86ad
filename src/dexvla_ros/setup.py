"""Installs dexvla_ros and the folders launch, config, urdf and checkpoints; read by colcon and by pip."""

import os
from pathlib import Path

from setuptools import find_packages, setup

NAME = "dexvla_ros"

# Links beside this file to the folders at the top of the repository: setuptools and `colcon build
# --symlink-install` both take data files from below the package only.
SHARED_FOLDERS = ("checkpoints", "config", "launch", "urdf")


def shared_files() -> list[tuple[str, list[str]]]:
    """Pairs (folder below the prefix, files to install there) that keep the shared folders' structure."""
    files_by_folder: dict[Path, list[str]] = {}
    for shared in SHARED_FOLDERS:
        if os.path.lexists(shared) and not Path(shared).is_dir():
            raise SystemExit(f"src/{NAME}/{shared} must be a link to ../../{shared}: restore it.")
        for file in sorted(Path(shared).rglob("*")):
            if file.is_file() and "__pycache__" not in file.parts:
                files_by_folder.setdefault(file.parent, []).append(str(file))
    return [(f"share/{NAME}/{folder}", files) for folder, files in files_by_folder.items()]


setup(
    name=NAME,
    version="0.1.0",
    packages=find_packages(include=[NAME, f"{NAME}.*"]),
    package_data={NAME: ["**/*.html", "**/*.xml", "**/*.yaml"]},
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{NAME}"]),
        (f"share/{NAME}", ["package.xml"]),
        *shared_files(),
    ],
    install_requires=[
        "av",
        "coal",
        "dexvla_model",
        "dexvla_msgs",
        "dexvla_sim",
        "dynamixel-sdk",
        "glfw",
        "lz4",
        "mcap",
        "mujoco",
        "numpy",
        "ompl",
        "opencv-python-headless",
        "pillow",
        "pin",
        "pymodbus",
        "pyserial",
        "python-can",
        "pyyaml",
        "rich",
        "rosbags",
        "typer",
        "zstandard",
    ],
    zip_safe=False,
    maintainer="DexVLA for ROS 2 developers",
    maintainer_email="maintainers@dexvla-ros2.org",
    description="The nodes, the bringup and the dexvla command",
    license="Apache-2.0",
    entry_points={
        "console_scripts": [
            f"dexvla = {NAME}.cli.main:main",
            f"action_node = {NAME}.nodes.action_node:main",
            f"camera_node = {NAME}.nodes.camera_node:main",
            f"dashboard_node = {NAME}.nodes.dashboard_node:main",
            f"gripper_action_node = {NAME}.nodes.gripper_action_node:main",
            f"inspire_node = {NAME}.nodes.inspire_node:main",
            f"leap_node = {NAME}.nodes.leap_node:main",
            f"motion_node = {NAME}.nodes.motion_node:main",
            f"piper_node = {NAME}.nodes.piper_node:main",
            f"recorder_node = {NAME}.nodes.recorder_node:main",
            f"sim_node = {NAME}.nodes.sim_node:main",
            f"teleop_node = {NAME}.nodes.teleop_node:main",
            f"vlm_node = {NAME}.nodes.vlm_node:main",
            f"webcam_node = {NAME}.nodes.webcam_node:main",
        ],
    },
)

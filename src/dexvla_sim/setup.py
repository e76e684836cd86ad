"""Installs dexvla_sim; read by colcon and by pip."""

from setuptools import find_packages, setup

NAME = "dexvla_sim"

setup(
    name=NAME,
    version="0.1.0",
    packages=find_packages(include=[NAME, f"{NAME}.*"]),
    package_data={NAME: ["**/*.xml", "**/*.yaml"]},
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{NAME}"]),
        (f"share/{NAME}", ["package.xml"]),
    ],
    install_requires=[
        "dexvla_model",
        "matplotlib",
        "mujoco",
        "numpy",
        "scipy",
        "torch",
    ],
    # dexvla eval suite --ray
    extras_require={"ray": ["ray"]},
    zip_safe=False,
    maintainer="DexVLA for ROS 2 developers",
    maintainer_email="maintainers@dexvla-ros2.org",
    description="MuJoCo worlds, tasks, scripted demonstrators and rollouts for DexVLA",
    license="Apache-2.0",
)

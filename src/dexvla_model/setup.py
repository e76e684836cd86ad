"""Installs dexvla_model; read by colcon and by pip."""

from setuptools import find_packages, setup

NAME = "dexvla_model"

setup(
    name=NAME,
    version="0.1.0",
    packages=find_packages(include=[NAME, f"{NAME}.*"]),
    package_data={NAME: ["**/*.html", "**/*.json", "**/*.yaml"]},
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{NAME}"]),
        (f"share/{NAME}", ["package.xml"]),
    ],
    # What a machine without ROS needs (a GPU cluster); the versions that are tested stand in
    # requirements.txt.
    install_requires=[
        "accelerate",
        "av",
        "daqp",
        "diffusers",
        "h5py",
        "numpy",
        "peft",
        "pillow",
        "psutil",
        "pyarrow",
        "pyyaml",
        "rich",
        "safetensors",
        "scipy",
        "tensorboardX",
        "tokenizers",
        "torch",
        "transformers",
        "xacro",
    ],
    extras_require={"lerobot": ["lerobot"]},
    zip_safe=False,
    maintainer="DexVLA for ROS 2 developers",
    maintainer_email="maintainers@dexvla-ros2.org",
    description="The DexVLA policy, its training, the datasets and the robot file",
    license="Apache-2.0",
)

#!/bin/sh
# Builds the workspace that the current folder is, against an installed ROS 2.
#   build_workspace.sh ROS PYTHON     such as /opt/ros/jazzy .venv/bin/python
set -eu
ros=$1
python=$2

if [ ! -f "$ros/setup.sh" ]; then
    echo "$ros/setup.sh does not exist: name the folder of an installed ROS 2." >&2
    exit 2
fi
set +u # the file reads variables that may not be set
# shellcheck disable=SC1091
. "$ros/setup.sh"
set -u
# With this Python, so that the commands that are installed start in its environment.
"$python" -m colcon build --merge-install --base-paths src

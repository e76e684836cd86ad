#!/bin/sh
# Installs what the packages below a folder depend on, by rosdep, as root on a machine with ROS 2.
#   install_ros_dependencies.sh SOURCES
set -eu
sources=$1
distribution=${ROS_DISTRO:-jazzy}

if ! command -v rosdep >/dev/null; then
    echo "rosdep is missing: install ROS 2 $distribution (ros-dev-tools) first." >&2
    exit 2
fi
apt-get -qq update
[ -f /etc/ros/rosdep/sources.list.d/20-default.list ] || rosdep init
rosdep update --rosdistro "$distribution"
rosdep install --rosdistro "$distribution" --from-paths "$sources" --ignore-src -y
apt-get -qq -y --no-install-recommends install python3-venv python3-dev python3-colcon-common-extensions

#!/bin/sh
# Installs the pinned packages of a requirements file into a Python.
#   install_requirements.sh PYTHON REQUIREMENTS [--without-ros]
# --without-ros leaves out the wheels of ROS itself, for a Python that sees an installed ROS.
set -eu
python=$1
requirements=$2
wanted=$requirements

case ${3:-} in
'') ;;
--without-ros)
    wanted=$(mktemp)
    trap 'rm -f "$wanted"' EXIT
    grep -v '^ros-' "$requirements" >"$wanted"
    ;;
*)
    echo "$0: '$3' is not --without-ros." >&2
    exit 2
    ;;
esac
# The file names everything, so nothing is resolved.
"$python" -m pip --disable-pip-version-check install --no-deps -r "$wanted"

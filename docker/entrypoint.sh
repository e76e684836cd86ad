#!/bin/sh
# Runs a command inside the workspace: ROS, what was built here, and the virtual environment.
# ROS_SETUP and WORKSPACE name other places than those of the image.
set -eu
workspace=${WORKSPACE:-/opt/dexvla}

for setup in "${ROS_SETUP:-/opt/ros/jazzy/setup.sh}" "$workspace/install/setup.sh"; do
    if [ ! -f "$setup" ]; then
        echo "$setup does not exist: the image was not built whole; build it again with docker/Dockerfile." >&2
        exit 2
    fi
    # The files read variables that may not be set.
    set +u
    # shellcheck disable=SC1090
    . "$setup"
    set -u
done
PATH="$workspace/.venv/bin:$PATH"
export PATH

# A robot's controllers and drivers want real-time priorities; say so where the container may not give them.
if [ "${DEXVLA_REAL_TIME:-}" = required ] && ! chrt -f 1 true 2>/dev/null; then
    echo "This container may not use real-time priorities: start it with 'ulimits: rtprio: 99' and" \
        "'cap_add: SYS_NICE', as docker/compose.yaml does, on a host whose limits allow it." >&2
    exit 2
fi
exec "$@"

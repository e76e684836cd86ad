#!/bin/sh
# Prints the path of a Python that the ROS 2 wheels exist for: $PYTHON where it is set, else the first that
# works. Exits with 2 and one sentence where there is none.
set -eu

executable_if_suitable() {
    path=$("$1" -c 'import sys; print(sys.executable if sys.version_info[:2] in ((3, 11), (3, 12)) else "")' \
        2>/dev/null) && [ -n "$path" ] && echo "$path"
}

if [ -n "${PYTHON:-}" ]; then
    executable_if_suitable "$PYTHON" && exit
    echo "PYTHON=$PYTHON is not a working Python 3.11 or 3.12, the two that ROS 2 Jazzy has wheels for;" \
        "name one that is, or leave PYTHON out." >&2
    exit 2
fi

for candidate in python3 python3.12 python3.11; do
    executable_if_suitable "$candidate" && exit
done
echo "No Python 3.11 or 3.12 was found, the two that ROS 2 Jazzy has wheels for; install one (Debian 12 and" \
    "Ubuntu 24.04: apt-get install python3) or name it: make setup PYTHON=/path/to/python3.12" >&2
exit 2

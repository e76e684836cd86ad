#!/bin/sh
# Installs the Debian or Ubuntu packages that set-up needs and that are missing; the only thing set-up puts
# outside .venv. Without the right to do so it says what to install and exits with 2.
#   install_system_libraries.sh build PYTHON      before .venv exists: venv, headers, compiler for PYTHON
#   install_system_libraries.sh rendering PYTHON  with mujoco installed in PYTHON: OpenGL without a display
set -eu
purpose=$1
python=$2

install_packages() {
    if ! command -v apt-get >/dev/null; then
        echo "$1 is missing: install what this system has in place of the Debian packages '$2'." >&2
        exit 2
    elif [ "$(id -u)" -eq 0 ]; then
        as_root="env"
    elif sudo -n true 2>/dev/null; then
        as_root="sudo -n env"
    else
        echo "$1 is missing: run 'sudo apt-get install $2' and then make again." >&2
        exit 2
    fi
    echo "Installing system packages: $2"
    # A package list that is a little old still installs, so a failing update is not the end.
    $as_root apt-get -qq update || true
    # shellcheck disable=SC2086
    if ! $as_root DEBIAN_FRONTEND=noninteractive \
        apt-get -qq -y --no-install-recommends install $2 >/dev/null; then
        echo "$1 is missing and 'apt-get install $2' failed: install it and then make again." >&2
        exit 2
    fi
}

can_render() {
    MUJOCO_GL=egl "$python" -c 'import mujoco; mujoco.GLContext(16, 16).free()' 2>/dev/null
}

case $purpose in
build)
    version=$("$python" -c 'import sys; print(f"python{sys.version_info.major}.{sys.version_info.minor}")')
    missing=""
    "$python" -c 'import ensurepip, venv' 2>/dev/null || missing="$missing $version-venv"
    "$python" -c 'import os, sysconfig
raise SystemExit(not os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h")))' ||
        missing="$missing $version-dev"
    command -v c++ >/dev/null || missing="$missing g++"
    [ -z "$missing" ] || install_packages "Something that .venv is built with" "${missing# }"
    ;;
rendering)
    # Asked by doing it, so that a machine with a vendor's OpenGL needs no package of Mesa's.
    can_render && exit
    packages="libegl1 libgl1 libgl1-mesa-dri"
    install_packages "OpenGL without a display (EGL)" "$packages"
    if ! can_render; then
        echo "MuJoCo cannot render without a display although '$packages' are installed; the command" \
            "'MUJOCO_GL=egl $python -c \"import mujoco; mujoco.GLContext(16, 16)\"' says why." >&2
        exit 2
    fi
    ;;
*)
    echo "$0: '$purpose' is neither 'build' nor 'rendering'." >&2
    exit 2
    ;;
esac

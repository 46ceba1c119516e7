#!/bin/sh
# Installs the project and all that it needs, Detectron2 included, in a virtual environment:
#
#     dev/install.sh .venv
#
# BASE_PYTHON  the Python to make the environment from (default: python3)
# DETECTRON2   a Git repository of Detectron2, URL or local checkout, that has the commit below
set -eu

COMMIT=02b5c4e295e990042a714712c21dc79b731e8833
BASE_PYTHON=${BASE_PYTHON:-python3}
DETECTRON2=${DETECTRON2:-https://github.com/facebookresearch/detectron2.git}

fail() {
    echo "install.sh: $*" >&2
    exit 1
}

unset PYTHONPATH PYTHONHOME  # the environment stands alone

[ $# -eq 1 ] || fail "usage: dev/install.sh VENV_DIR"
venv=$1
root=$(cd "$(dirname "$0")/.." && pwd)

pip() {
    "$venv/bin/python" -m pip -qq --disable-pip-version-check "$@"
}

# Whether the environment has Detectron2 at the commit, built for the PyTorch that it has.
has_detectron2() {
    [ -x "$venv/bin/python" ] && "$venv/bin/python" - "$COMMIT" 2>/dev/null <<'EOF'
import sys
from importlib.metadata import distribution

import torch
from detectron2 import _C

sys.exit(sys.argv[1] not in distribution("detectron2").read_text("direct_url.json"))
EOF
}

check_prerequisites() {
    compiler=${CXX:-c++}
    command -v git >/dev/null || fail "git is missing, it is needed to fetch Detectron2."
    command -v "${compiler%% *}" >/dev/null ||
        fail "there is no C++ compiler ($compiler), it is needed to build Detectron2."
    "$BASE_PYTHON" -c 'import os, sys, sysconfig
sys.exit(not os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h")))' ||
        fail "$BASE_PYTHON has no Python.h (on Debian and Ubuntu: package python3-dev)," \
            "it is needed to build Detectron2."
    if [ -d "$DETECTRON2" ]; then
        git -C "$DETECTRON2" cat-file -e "$COMMIT^{commit}" 2>/dev/null ||
            fail "$DETECTRON2 is not a Git repository that has Detectron2's commit $COMMIT."
    else
        reason=$(GIT_TERMINAL_PROMPT=0 git ls-remote "$DETECTRON2" HEAD 2>&1 >/dev/null) ||
            fail "cannot read $DETECTRON2 ($(echo "$reason" | tail -n 1)):" \
                "give a local checkout with DETECTRON2=/path/to/checkout."
    fi
}

"$BASE_PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null ||
    fail "$BASE_PYTHON is not Python 3.10 or newer: name one that is with BASE_PYTHON."

has_detectron2 || check_prerequisites

if ! [ -x "$venv/bin/pip" ]; then
    echo "Making the environment $venv ..."
    "$BASE_PYTHON" -m venv "$venv"
fi

echo "Installing PyTorch (minutes, if its gigabytes have to be downloaded) ..."
pip install --constraint "$root/constraints.txt" torch torchvision setuptools wheel ninja

if ! has_detectron2; then
    echo "Building Detectron2 (some minutes) ..."
    # pip would keep another commit of the same version, and cached builds for another PyTorch.
    pip uninstall --yes detectron2
    [ -d "$DETECTRON2" ] && DETECTRON2=file://$(cd "$DETECTRON2" && pwd)
    pip install --constraint "$root/constraints.txt" --no-build-isolation --no-cache-dir \
        "git+$DETECTRON2@$COMMIT"
fi

echo "Installing tood_d2 and the rest of what it needs (a minute) ..."
pip install --constraint "$root/constraints.txt" --no-build-isolation --editable "$root[dev]"

"$venv/bin/python" -c 'import cv2' ||
    fail "OpenCV does not load: on Debian and Ubuntu it needs the packages libgl1 and libglib2.0-0."

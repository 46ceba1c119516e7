#!/bin/sh
# Installs the project and all that it needs, Detectron2 included, in a virtual environment:
#
#     dev/install.sh .venv
#
# BASE_PYTHON  the Python to make the environment from (default: python3)
# COMPILED     1 to compile Detectron2's operators
# DETECTRON2   a Git repository of Detectron2, URL or local checkout, that has the tested commit
# TORCH_INDEX  package index to take PyTorch from, such as https://download.pytorch.org/whl/cpu
set -eu

BASE_PYTHON=${BASE_PYTHON:-python3}
OLDEST=3.10
NEWEST=3.13

fail() {
    echo "install.sh: $*" >&2
    exit 1
}

unset PYTHONPATH PYTHONHOME  # the environment stands alone

[ $# -eq 1 ] || fail "usage: dev/install.sh VENV_DIR"
venv=$1
root=$(cd "$(dirname "$0")/.." && pwd)
python=$venv/bin/python
[ -x "$python" ] || python=$BASE_PYTHON

"$python" - $OLDEST $NEWEST 2>/dev/null <<'EOP' || fail "$python is not Python $OLDEST to $NEWEST," \
    "which tood_d2 was tried with: name one that is with BASE_PYTHON."
import sys
oldest, newest = (tuple(map(int, x.split("."))) for x in sys.argv[1:])
sys.exit(not oldest <= sys.version_info[:2] <= newest)
EOP
"$python" -c 'import venv, ensurepip' 2>/dev/null ||
    fail "$python cannot make virtual environments (on Debian and Ubuntu: package python3-venv)."

install_detectron2() {
    PYTHONPATH="$root" "$python" -m tood_d2.programs.install_detectron2 \
        ${COMPILED:+--compiled} --constraint "$root/constraints.txt" "$@"
}

pip() {
    "$python" -m pip --disable-pip-version-check "$@"
}

install_detectron2 --check >/dev/null

if [ "$python" = "$BASE_PYTHON" ]; then
    echo "Making the environment $venv ..."
    "$BASE_PYTHON" -m venv "$venv"
    python=$venv/bin/python
fi

if [ -n "${TORCH_INDEX:-}" ]; then
    echo "Installing PyTorch from $TORCH_INDEX ..."
    pip install --constraint "$root/constraints.txt" --index-url "$TORCH_INDEX" --no-deps \
        torch torchvision
else
    echo "Installing PyTorch for GPUs and CPUs (2.5 GB to download, 5.5 GB on the disk;" \
        "less with TORCH_INDEX=https://download.pytorch.org/whl/cpu) ..."
fi
pip install --constraint "$root/constraints.txt" torch torchvision

install_detectron2

echo "Installing tood_d2 and the rest of what it needs (200 MB to download) ..."
pip install --constraint "$root/constraints.txt" --editable "$root[dev]"

if ! "$python" -c 'import cv2' 2>/dev/null; then
    echo "This machine lacks the libraries of a desktop: installing OpenCV without windows ..."
    pip uninstall --yes --quiet opencv-python
    pip install --constraint "$root/constraints.txt" --force-reinstall --no-deps \
        opencv-python-headless
    "$python" -c 'import cv2' || fail "OpenCV does not load."
fi

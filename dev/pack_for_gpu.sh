#!/bin/sh
# Makes a folder that holds all that tests and benchmarks need on a machine with a GPU and without
# an Internet connection, whose Python has PyTorch, torchvision and pytest:
#
#     dev/pack_for_gpu.sh FOLDER
#     FOLDER/run.sh OUTPUT     # there; see dev/report_gpu.py
#
# BASE_PYTHON     the Python to pack with, which has pip, setuptools and Git (python3)
# PYTHON_VERSION  of the other machine (3.12)
# DETECTRON2      a Git repository of Detectron2, URL or local checkout, that has the tested commit
set -eu

BASE_PYTHON=${BASE_PYTHON:-python3}
PYTHON_VERSION=${PYTHON_VERSION:-3.12}
DETECTRON2=${DETECTRON2:-https://github.com/facebookresearch/detectron2.git}
PURE="antlr4-python3-runtime==4.9.3 cloudpickle fvcore hydra-core iopath omegaconf==2.3.0
    portalocker tabulate termcolor yacs"
COMPILED="pycocotools"

[ $# -eq 1 ] || { echo "usage: dev/pack_for_gpu.sh FOLDER" >&2; exit 1; }
[ ! -e "$1" ] || { echo "pack_for_gpu.sh: $1 exists, name another folder" >&2; exit 1; }
root=$(cd "$(dirname "$0")/.." && pwd)
mkdir -p "$1/wheels" "$1/tood_d2" "$1/detectron2"
folder=$(cd "$1" && pwd)

pip() {
    "$BASE_PYTHON" -m pip --disable-pip-version-check "$@"
}

git -C "$root" archive HEAD | tar -x -C "$folder/tood_d2"
# Detectron2 runs from its source, without its compiled part.
commit=$(sed -n 's/^COMMIT = "\(.*\)"/\1/p' "$root/tood_d2/programs/install_detectron2.py")
git clone --quiet --no-checkout "$DETECTRON2" "$folder/clone"
git -C "$folder/clone" archive "$commit" detectron2 configs | tar -x -C "$folder/detectron2"
rm -rf "$folder/clone"
mv "$folder/detectron2/configs" "$folder/detectron2/detectron2/model_zoo/configs"

pip wheel --quiet --no-deps --wheel-dir "$folder/wheels" $PURE
pip download --quiet --no-deps --only-binary=:all: --python-version "$PYTHON_VERSION" \
    --platform manylinux_2_28_x86_64 --platform manylinux_2_17_x86_64 \
    --platform manylinux2014_x86_64 --dest "$folder/wheels" $COMPILED
pip install --quiet --no-index --no-deps --no-compile --target "$folder/site" \
    --only-binary=:all: --python-version "$PYTHON_VERSION" \
    --platform manylinux_2_28_x86_64 --platform manylinux_2_17_x86_64 \
    --platform manylinux2014_x86_64 "$folder"/wheels/*.whl
rm -rf "$folder/wheels"

cat >"$folder/run.sh" <<'EOP'
#!/bin/sh
# run.sh OUTPUT [--rehearse]: runs dev/report_gpu.py with what is in this folder.
folder=$(cd "$(dirname "$0")" && pwd)
export PYTHONPATH="$folder/tood_d2:$folder/detectron2:$folder/site${PYTHONPATH:+:$PYTHONPATH}"
exec "${PYTHON:-python3}" "$folder/tood_d2/dev/report_gpu.py" "$@"
EOP
chmod +x "$folder/run.sh"
du -sh "$folder"

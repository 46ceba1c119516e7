"""An installed package needs no checkout: it has the configs, and the command tood."""

import ast
import os
import re
import shutil
import subprocess
import sys
from email import message_from_string
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

# Names of imports that differ from those of the packages.
PACKAGES = {"PIL": "pillow", "cv2": "opencv-python", "hydra": "hydra-core", "yaml": "pyyaml"}
PACKAGES |= {"mlflow": "mlflow-skinny"}  # all that logging takes
# On no package index.
NOT_DECLARED = {"flask", "label_studio_ml", "label_studio_sdk"}
# What other programs consist of.
PARTS = {"__init__", "page", "suspects", "tiles"}

SCRIPT = """
import tood_d2
from tood_d2 import model_zoo
assert tood_d2.__file__.startswith({site!r}), tood_d2.__file__
for path in model_zoo.CONFIG_FOLDER.glob("tood_*"):
    model_zoo.get_config(path.name)
print(*model_zoo.list_names())
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A folder that the wheel is installed in, for PYTHONPATH."""
    folder = tmp_path_factory.mktemp("wheel")
    site, source = folder / "site", folder / "source"
    for name in ("tood_d2", "configs"):  # building in the checkout would leave traces there
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("README.md", "setup.py", "pyproject.toml"):
        shutil.copy(ROOT / name, source)
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps"]
    command += ["--no-build-isolation", "--target", str(site), str(source)]
    built = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert built.returncode == 0, built.stderr
    return site


@pytest.fixture
def run(site, tmp_path):
    """Runs a Python program outside of the checkout; returns its output."""

    def _run(*args):
        result = subprocess.run(
            [sys.executable, *map(str, args)],
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": str(site)},
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert result.returncode == 0, result.stdout + result.stderr
        return result.stdout

    return _run


@pytest.fixture
def tood(run, site):
    """Runs the command tood."""
    return lambda *args: run(site / "bin" / "tood", *args)


def test_model_zoo(run, site):
    output = run("-c", SCRIPT.format(site=str(site)))
    assert set(output.split()) == {path.stem for path in (ROOT / "configs").glob("tood_*.py")}


def test_train_and_predict(tood, tmp_path):
    tood("make-shapes", "shapes", "--num-train", 2, "--num-val", 1)
    files = [
        f"dataset.{split}_{kind}=shapes/{name}{suffix}"
        for split, name in (("train", "train"), ("test", "val"))
        for kind, suffix in (("json", ".json"), ("images", ""))
    ]
    config = ["--config-file", "tood_R_18_FPN_tiny"]
    tood("train", *config, *files, "train.max_iter=2", "train.output_dir=run")
    weights = "train.init_checkpoint=run/model_final.pth"
    trained = ["--config-file", "run/config.yaml", "--input", "shapes/val", "--output", "pictures"]
    output = tood("predict", *trained, "--opts", weights)
    assert output.endswith("in 1 images, drawn in pictures\n")
    assert [path.name for path in (tmp_path / "pictures").iterdir()] == ["000001.png"]


def test_programs_call_themselves_as_they_are_called(tood):
    assert "\n  train    " in tood("--help")
    assert tood("data", "check", "--help").startswith("usage: tood data check [-h]")
    assert "\ntood predict --input images/\n" in tood("predict", "--help")


def test_each_program_of_the_command_is_there(tood):
    listed = tood("--help").partition("programs:\n")[2]
    names = re.findall(r"^  ([a-z0-9-]+) ", listed, re.MULTILINE)
    files = {path.stem for path in (ROOT / "tood_d2" / "programs").glob("*.py")}
    assert {name.replace("-", "_") for name in names} == files - PARTS
    for name in names:
        assert tood(name, "--help").startswith(f"usage: tood {name} ")


def test_all_imports_are_among_the_requirements(site):
    (file,) = site.glob("tood_d2-*.dist-info/METADATA")
    metadata = message_from_string(file.read_text())
    requirements = metadata.get_all("Requires-Dist")
    declared = {re.match(r"[\w.-]+", x).group().lower().replace("-", "_") for x in requirements}
    imported = set()
    for path in site.glob("tood_d2/**/*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                imported |= {x.name.partition(".")[0] for x in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                imported.add(node.module.partition(".")[0])
    imported -= {"tood_d2", "detectron2", *NOT_DECLARED, *sys.stdlib_module_names}
    assert len(imported) > 10
    assert {PACKAGES.get(x, x).lower().replace("-", "_") for x in imported} <= declared
    assert "tood install-detectron2" in metadata.get_payload()  # the README

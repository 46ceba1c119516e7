"""The configs are part of the installed package."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

SCRIPT = """
import tood_d2
from tood_d2 import model_zoo
assert tood_d2.__file__.startswith({site!r}), tood_d2.__file__
for path in model_zoo.CONFIG_FOLDER.glob("tood_*"):
    model_zoo.get_config(path.name)
print(*model_zoo.list_names())
"""


def test_an_installed_wheel_serves_the_model_zoo(tmp_path):
    site, source = tmp_path / "site", tmp_path / "source"
    for name in ("tood_d2", "configs"):  # building in the checkout would leave traces there
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.py", "pyproject.toml"):
        shutil.copy(ROOT / name, source)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps"]
    command += ["--no-build-isolation", "--wheel-dir", str(tmp_path), str(source)]
    built = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert built.returncode == 0, built.stderr
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)

    script = f"import sys; sys.path.insert(0, {str(site)!r})\n" + SCRIPT.format(site=str(site))
    result = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=300
    )
    assert result.returncode == 0, result.stderr
    expected = {path.stem for path in (ROOT / "configs").glob("tood_*.py")}
    assert set(result.stdout.split()) >= expected

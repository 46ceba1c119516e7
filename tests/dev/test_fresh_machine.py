"""dev/fresh_machine.sh tries what the Dockerfile does."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "dev" / "fresh_machine.sh"


def test_its_packages_are_those_of_the_docker_image():
    (script,) = re.findall(r'^PACKAGES="(.+)"$', SCRIPT.read_text(), re.MULTILINE)
    docker = (ROOT / "Dockerfile").read_text()
    (image,) = re.findall(r"apt-get install -y --no-install-recommends \\\n(.+?)\\\n", docker)
    assert image.split() == script.split()
    assert script.split() == ["ca-certificates", "git", "make", "python3", "python3-venv"]


def test_its_debian_and_commands_are_those_of_the_docker_image():
    script, docker = SCRIPT.read_text(), (ROOT / "Dockerfile").read_text()
    (release,) = re.findall(r"^FROM debian:(\w+)-slim AS cpu$", docker, re.MULTILINE)
    assert f" {release} " in script
    assert "\nRUN make setup\n" in docker and "make setup" in script


@pytest.mark.skipif(shutil.which("sh") is None, reason="needs sh")
def test_a_folder_with_something_else_is_left_alone(tmp_path):
    (tmp_path / "precious").touch()
    result = subprocess.run(["sh", str(SCRIPT), str(tmp_path)], capture_output=True, text=True)
    assert result.returncode == 1
    assert result.stderr.startswith("fresh_machine.sh: ") and result.stderr.count("\n") == 1
    assert [x.name for x in tmp_path.iterdir()] == ["precious"]

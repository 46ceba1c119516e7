"""What is missing is named, with what installs it, before anything is imported."""

import logging
import sys
from importlib import metadata

import pytest

from tood_d2.cli import requirements
from tood_d2.cli.messages import describe
from tood_d2.cli.requirements import MissingRequirement, check_fiftyone, check_requirements


@pytest.fixture
def version(monkeypatch):
    """Changes the version of an installed package; None for a package that is missing."""

    def change(package, version):
        real = metadata.version

        def _version(name):
            if name != package:
                return real(name)
            if version is None:
                raise metadata.PackageNotFoundError(name)
            return version

        monkeypatch.setattr(requirements.metadata, "version", _version)

    return change


def test_nothing_is_missing_here(caplog):
    check_requirements()
    assert caplog.text == ""


@pytest.mark.parametrize("package, least", [("torch", "2.6"), ("torchvision", "0.21")])
def test_a_missing_package(version, package, least):
    version(package, None)
    with pytest.raises(MissingRequirement, match=f"{package} is missing") as caught:
        check_requirements()
    assert f"pip install '{package}>={least}'" in describe(caught.value)


@pytest.mark.parametrize(
    "number, fine", [("2.5.1+cu124", False), ("2.6.0+cpu", True), ("2.14.0a0+git1", True)]
)
def test_the_version_of_pytorch(version, number, fine):
    version("torch", number)
    if fine:
        check_requirements()
    else:
        with pytest.raises(MissingRequirement, match=r"torch 2.5.1\+cu124 is too old"):
            check_requirements()


def test_detectron2_is_missing(monkeypatch):
    monkeypatch.setattr(requirements.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingRequirement, match="tood install-detectron2"):
        check_requirements()


def test_opencv_does_not_load(monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(MissingRequirement, match="opencv-python-headless"):
        check_requirements()


def test_a_newer_python(monkeypatch, caplog):
    monkeypatch.setattr(requirements.sys, "version_info", (3, 99, 0))
    with caplog.at_level(logging.WARNING):
        check_requirements()
    assert "Python 3.99 has not been tried with tood_d2" in caplog.text


def test_a_missing_viewer(monkeypatch):
    monkeypatch.setitem(sys.modules, "fiftyone", None)
    with pytest.raises(MissingRequirement, match="shown by FiftyOne.*pip install fiftyone"):
        check_fiftyone()

"""What files of weights hold."""

import numpy as np
import pytest
import torch

from tood_d2.checkpoint import find_class_names, find_state_dict, read_checkpoint

WEIGHTS = {"head.scales.0": torch.ones(())}


@pytest.mark.parametrize(
    ("content", "names"),
    [
        ({"model": WEIGHTS, "class_names": ["cat", "dog"]}, ["cat", "dog"]),
        ({"state_dict": WEIGHTS, "meta": {"CLASSES": ("cat", "dog")}}, ["cat", "dog"]),
        ({"state_dict": WEIGHTS, "meta": {"dataset_meta": {"classes": ("cat",)}}}, ["cat"]),
        ({"state_dict": WEIGHTS, "meta": {"CLASSES": None}}, []),
        ({"state_dict": WEIGHTS, "meta": {"CLASSES": (1, 2)}}, []),
        ({"model": WEIGHTS}, []),
        (WEIGHTS, []),
    ],
)
def test_class_names_and_weights_are_found(content, names):
    assert find_class_names(content) == names
    assert find_state_dict(content).keys() == WEIGHTS.keys()


def test_arrays_become_tensors():
    found = find_state_dict({"epoch": 12, "w": np.array([1.0, 2.0])})
    assert list(found) == ["w"] and torch.equal(found["w"], torch.tensor([1.0, 2.0]).double())


@pytest.mark.parametrize(
    "content", [{}, {"state_dict": {}}, {"state_dict": 3}, {"epoch": 1}, {"model": {"epoch": 1}}]
)
def test_content_without_weights_is_refused(content):
    with pytest.raises(ValueError, match="holds no weights"):
        find_state_dict(content)


def test_safetensors_are_read(tmp_path):
    safetensors = pytest.importorskip("safetensors.torch")
    path = tmp_path / "weights.safetensors"
    safetensors.save_file({"w": torch.arange(3.0)}, path)
    assert torch.equal(read_checkpoint(path)["w"], torch.arange(3.0))
    path.write_bytes(b"no tensors")
    with pytest.raises(ValueError, match="no safetensors file"):
        read_checkpoint(path)

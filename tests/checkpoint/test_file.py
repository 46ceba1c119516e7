import pytest
import torch

from tood_d2.checkpoint import load_class_names, load_state_dict

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
def test_class_names(tmp_path, content, names):
    path = str(tmp_path / "weights.pth")
    torch.save(content, path)
    assert load_class_names(path) == names
    assert load_state_dict(path).keys() == WEIGHTS.keys()

"""Backbone weights in the form of Detectron2's model zoo, as the R-50 configs load them."""

import pickle

import torch

from tood_d2.checkpoint import SafeCheckpointer
from tood_d2.modeling import build_fpn, build_resnet


def test_backbone_weights_reach_every_tensor(tiny_tood, tmp_path):
    # Such a file has NumPy arrays by the names of Detectron2's ResNet, and a classifier.
    torch.manual_seed(1)
    resnet = build_resnet(depth=18, out_features=("res5",))
    weights = {name: torch.rand_like(x).numpy() for name, x in resnet.state_dict().items()}
    weights["fc1000.weight"] = torch.zeros(1000, 512).numpy()
    path = tmp_path / "R-50.pkl"
    with open(path, "wb") as f:
        content = {"model": weights, "__author__": "torchvision", "matching_heuristics": True}
        pickle.dump(content, f)

    model = tiny_tood(backbone=build_fpn(build_resnet(depth=18), out_channels=64))
    before = {name: x.clone() for name, x in model.state_dict().items()}
    SafeCheckpointer(model).load(str(path))
    prefix = "backbone.bottom_up."
    for name, tensor in model.state_dict().items():
        if name.startswith(prefix):
            expected = torch.from_numpy(weights[name.removeprefix(prefix)])
        else:
            expected = before[name]
        assert torch.equal(tensor, expected), name

"""Every kind of file that Detectron2 loads means the same to the safe checkpointer."""

import os
import pickle

import numpy as np
import pytest
import torch
from torch import nn

from detectron2.checkpoint import DetectionCheckpointer
from detectron2.modeling.backbone import BasicStem
from tood_d2.checkpoint import SafeCheckpointer, fetch_weights, read_checkpoint


class Net(nn.Module):
    """Has the names that Caffe2's are converted to."""

    def __init__(self):
        super().__init__()
        self.stem = BasicStem(out_channels=4, norm="FrozenBN")
        self.fc = nn.Linear(2, 3)


def weights():
    torch.manual_seed(1)
    return {name: torch.rand_like(x) for name, x in Net().state_dict().items()}


def arrays():
    return {name: x.numpy() for name, x in weights().items()}


def caffe2():
    blobs = {"conv1_w": np.ones((4, 3, 7, 7), np.float32), "res_conv1_bn_s": np.ones(4, np.float32)}
    return blobs | {"fc_w": np.full((3, 2), 2, np.float32), "fc_w_momentum": np.ones((3, 2))}


def write(content, path):
    if path.suffix == ".pkl":
        path.write_bytes(pickle.dumps(content, protocol=2))
    elif path.suffix == ".safetensors":
        pytest.importorskip("safetensors.torch").save_file(content, path)
    else:
        torch.save(content, path)


CASES = [
    ("zoo.pkl", lambda: {"model": arrays(), "__author__": "x"}, ""),
    ("heuristics.pkl", lambda: {"model": {"fc.bias": np.ones(3, np.float32)}, "__author__": "x",
                                "matching_heuristics": True}, ""),
    ("detectron.pkl", lambda: {"blobs": caffe2(), "cfg": "MODEL: {}"}, ""),
    ("imagenet.pkl", caffe2, ""),
    ("pycls.pyth", lambda: {"model_state": weights() | {"a.num_batches_tracked": torch.ones(1)},
                            "epoch": 3}, ""),
    ("model.pth", lambda: {"model": weights(), "iteration": 7}, ""),
    ("plain.pth", weights, ""),
    ("wrapped.pth", lambda: {f"module.{name}": x for name, x in weights().items()}, ""),
    ("matched.pth", lambda: {f"a.{name}": x for name, x in weights().items()},
     "?matching_heuristics=True"),
    ("plain.safetensors", weights, ""),
]  # fmt: skip


@pytest.mark.parametrize(("name", "content", "query"), CASES, ids=[case[0] for case in CASES])
def test_files_load_as_with_detectron2(tmp_path, name, content, query):
    path = tmp_path / name
    write(content(), path)
    states, extras = [], []
    for checkpointer in (DetectionCheckpointer, SafeCheckpointer):
        torch.manual_seed(0)
        net = Net()
        extras.append(checkpointer(net).load(f"{path}{query}"))
        states.append(net.state_dict())
    theirs, ours = states
    for name, tensor in theirs.items():
        assert torch.equal(ours[name], tensor), name
    torch.manual_seed(0)
    assert any(not torch.equal(ours[name], x) for name, x in Net().state_dict().items())
    assert extras[0].keys() == extras[1].keys()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.pth", {"model": {"w": 3}}, "has a int for the tensor 'w'"),
        ("a.pth", {"model": {3: torch.ones(1)}}, "has a Tensor for the tensor 3"),
        ("a.pth", {"model": [1]}, "has a list for a state dict"),
        ("a.pth", [1], "holds no state dict but a list"),
        ("a.pkl", {"blobs": 3}, "has a int for a state dict"),
        ("a.pkl", {"w": "text"}, "has a str for the tensor 'w'"),
        ("a.pyth", {"model": {}}, "has no 'model_state'"),
    ],
)
def test_other_content_is_named(tmp_path, name, content, message):
    write(content, tmp_path / name)
    with pytest.raises(ValueError, match=rf"{name}: {message}"):
        SafeCheckpointer(Net()).load(str(tmp_path / name))


@pytest.mark.parametrize("name", ["a?b=1.pth", "Run:1.pth", "épreuves #2;x.pth", "a%20b.pth"])
def test_files_whose_names_look_like_addresses(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # where "Run:1.pth" begins with what could be a scheme
    torch.save(weights(), name)
    net = Net()
    fetch_weights(name, "KEY")
    SafeCheckpointer(net).load(name)
    assert torch.equal(net.fc.weight, weights()["fc.weight"])


def test_a_named_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.pth")
    with pytest.raises(FileNotFoundError, match="pipe.pth"):
        fetch_weights(str(tmp_path / "pipe.pth"), "KEY")
    with pytest.raises(FileNotFoundError, match="pipe.pth"):
        read_checkpoint(tmp_path / "pipe.pth")

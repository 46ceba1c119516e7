"""Checkpoints whose classes are not those of the model."""

import pytest
import torch
from torch import nn

from detectron2.checkpoint import DetectionCheckpointer
from tood_d2.checkpoint.recovery import load_last_checkpoint
from tood_d2.checkpoint.training_checkpointer import TrainingCheckpointer, WeightsCheckpointer

SAVED = 10.0  # cls_logits of class i are 10 + i, those of body are 10
INITIAL = -1.0


class Net(nn.Module):
    def __init__(self, num_classes, width=2):
        super().__init__()
        self.body = nn.Linear(2, width)
        self.cls_logits = nn.Conv2d(2, num_classes, 1)
        with torch.no_grad():
            for p in self.parameters():
                p.fill_(INITIAL)


@pytest.fixture
def load(tmp_path):
    """Saves a net with some classes, and loads it into one with others."""

    def _load(saved_classes, classes, width=2, with_names=True):
        saved = Net(len(saved_classes))
        with torch.no_grad():
            for p in saved.body.parameters():
                p.fill_(SAVED)
            for p in saved.cls_logits.parameters():
                for i in range(len(saved_classes)):
                    p[i] = SAVED + i
        if with_names:
            TrainingCheckpointer(saved, str(tmp_path), saved_classes).save("saved")
        else:
            DetectionCheckpointer(saved, str(tmp_path)).save("saved")
        net = Net(len(classes), width)
        TrainingCheckpointer(net, "", classes).load(str(tmp_path / "saved.pth"))
        return net

    return _load


def rows(net):
    """The value of each class, which weights and biases have to share."""
    weights, bias = net.cls_logits.weight.flatten(1), net.cls_logits.bias
    assert torch.equal(weights, bias[:, None].expand_as(weights))
    return bias.tolist()


def test_the_same_classes(load, log):
    net = load(["cat", "dog"], ["cat", "dog"])
    assert rows(net) == [10, 11]
    assert (net.body.weight == SAVED).all()
    assert "Classes" not in log.text


def test_rows_go_by_name(load, log):
    net = load(["cat", "dog", "cow"], ["cow", "owl", "cat", "bat"])
    # cow was the third class, cat the first; owl and bat are new.
    assert rows(net) == [12, INITIAL, 10, INITIAL]
    assert (net.body.weight == SAVED).all() and (net.body.bias == SAVED).all()
    assert "Classes whose weights are kept: cow, cat." in log.text
    assert "New classes, initialised: owl, bat." in log.text


def test_a_part_of_the_classes(load, log):
    assert rows(load(["cat", "dog", "cow"], ["dog"])) == [11]
    assert "New classes, initialised: none." in log.text


def test_as_many_classes_of_other_names(load, log):
    net = load(["cat", "dog"], ["owl", "bat"])
    assert rows(net) == [INITIAL, INITIAL]
    assert (net.body.weight == SAVED).all()
    assert "Classes whose weights are kept: none." in log.text


def test_a_checkpoint_without_names_is_loaded_as_by_detectron(load):
    assert rows(load(["cat", "dog"], ["owl", "bat"], with_names=False)) == [10, 11]
    net = load(["cat", "dog"], ["cat"], with_names=False)  # of another shape
    assert rows(net) == [INITIAL]
    assert (net.body.weight == SAVED).all()


def test_layers_of_another_shape_are_skipped(load):
    net = load(["cat", "dog"], ["dog", "owl"], width=5)
    assert rows(net) == [11, INITIAL]
    assert (net.body.weight == INITIAL).all()


def test_a_model_without_class_layers(tmp_path):
    saved, loaded = nn.Linear(1, 1), nn.Linear(1, 1)
    TrainingCheckpointer(saved, str(tmp_path), ["cat"]).save("saved")
    TrainingCheckpointer(loaded, "", ["dog"]).load(str(tmp_path / "saved.pth"))
    assert torch.equal(loaded.weight, saved.weight)


def test_class_layers_of_tood(tiny_tood, tmp_path):
    saved, model = tiny_tood(num_classes=3), tiny_tood(num_classes=2)
    initial = {name: x.clone() for name, x in model.state_dict().items()}
    names = ["cat", "dog", "cow"]
    TrainingCheckpointer(saved, str(tmp_path), names).save("saved")
    TrainingCheckpointer(model, "", ["owl", "cow"]).load(str(tmp_path / "saved.pth"))
    saved, loaded = saved.state_dict(), model.state_dict()
    class_layers = {name for name in loaded if loaded[name].shape != saved[name].shape}
    assert class_layers == {"head.cls_logits.weight", "head.cls_logits.bias"}
    for name, x in loaded.items():
        if name in class_layers:
            assert torch.equal(x[0], initial[name][0]) and torch.equal(x[1], saved[name][2])
        else:
            assert torch.equal(x, saved[name])


def test_resuming_ignores_other_weights(tmp_path):
    net = Net(2)
    checkpointer = TrainingCheckpointer(net, str(tmp_path), ["cat", "dog"])
    weights = WeightsCheckpointer(net, str(tmp_path), ["cat", "dog"])
    weights.save("model_best")
    assert not checkpointer.has_checkpoint()
    checkpointer.save("model_0000001")
    weights.save("model_final_ema")
    assert checkpointer.get_checkpoint_file() == str(tmp_path / "model_0000001.pth")
    saved = torch.load(tmp_path / "model_best.pth", weights_only=True)
    assert saved["class_names"] == ["cat", "dog"]


class State:
    """Part of a checkpoint beside the model."""

    def state_dict(self):
        return {"iteration": 3, "optimizer": {}}

    def load_state_dict(self, state):
        self.state = state


def test_a_checkpoint_is_resumed_without_being_read_again(tmp_path):
    saved = Net(2)
    nn.init.constant_(saved.body.weight, SAVED)
    TrainingCheckpointer(saved, str(tmp_path), [], 5, trainer=State()).save("model_0000003")
    net, state = Net(2), State()
    checkpointer = TrainingCheckpointer(net, str(tmp_path), [], trainer=state)
    checkpointer.last = last = load_last_checkpoint(str(tmp_path))
    (tmp_path / "model_0000003.pth").write_bytes(b"not read")
    assert checkpointer.resume_or_load("", resume=True)["seed"] == 5
    assert state.state["iteration"] == 3 and (net.body.weight == SAVED).all()
    assert checkpointer.last is None and "model" not in last.content  # takes no memory any more


def test_without_a_checkpoint_to_resume_training_starts_from_weights(tmp_path):
    saved = Net(2)
    nn.init.constant_(saved.body.weight, SAVED)
    DetectionCheckpointer(saved, str(tmp_path)).save("weights")
    net, state = Net(2), State()
    checkpointer = TrainingCheckpointer(net, str(tmp_path / "run"), [], trainer=state)
    checkpointer.resume_or_load(str(tmp_path / "weights.pth"), resume=True)
    assert (net.body.weight == SAVED).all() and not hasattr(state, "state")


def test_another_model_is_not_resumed(tmp_path):
    TrainingCheckpointer(Net(2), str(tmp_path), [], trainer=State()).save("model_0000003")
    state = State()
    checkpointer = TrainingCheckpointer(Net(2, width=3), str(tmp_path), [], trainer=state)
    message = r"model_0000003.pth is of another model \(of another shape: body.weight.*--resume"
    with pytest.raises(ValueError, match=message):
        checkpointer.resume_or_load("", resume=True)
    assert not hasattr(state, "state")
    checkpointer.resume_or_load(str(tmp_path / "model_0000003.pth"), resume=False)  # fine-tuning


def test_other_classes_are_not_resumed(tmp_path):
    TrainingCheckpointer(Net(2), str(tmp_path), ["a", "b"], trainer=State()).save("model_0000003")
    checkpointer = TrainingCheckpointer(Net(2), str(tmp_path), ["b", "a"], trainer=State())
    with pytest.raises(ValueError, match="has the classes a, b, but this run has b, a"):
        checkpointer.resume_or_load("", resume=True)

import pytest
from omegaconf import DictConfig

from detectron2.config import CfgNode
from tood_d2 import model_zoo

# Parameters of the official models, of their heads: measured from the official code.
PARAMETERS = {
    "tood_R_50_FPN_1x": (32_200_494, 4_823_790),
    "tood_R_50_FPN_anchor_based_1x": (32_200_494, 4_823_790),
    "tood_R_50_FPN_2x": (32_200_494, 4_823_790),
    "tood_R_101_FPN_2x": (51_192_622, 4_823_790),
    "tood_X_101_64x4d_FPN_2x": (90_098_734, 4_823_790),
    "tood_R_101_DCN_FPN_2x": (53_619_760, 5_321_670),
    "tood_X_101_64x4d_DCN_FPN_2x": (97_813_444, 5_321_670),
}


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameters(name):
    model = model_zoo.get(name, device="cpu")
    counts = [sum(p.numel() for p in module.parameters()) for module in (model, model.head)]
    assert tuple(counts) == PARAMETERS[name]


def test_names():
    assert set(model_zoo.list_names()) >= set(PARAMETERS)
    assert all("Base" not in name for name in model_zoo.list_names())


def test_both_kinds():
    lazy = model_zoo.get_config("tood_R_50_FPN_1x", trained=True)
    assert isinstance(lazy, DictConfig)
    assert lazy.train.init_checkpoint == "tood://tood_R_50_FPN_1x"
    assert isinstance(model_zoo.get_config("tood_R_50_FPN_1x.py"), DictConfig)
    yaml = model_zoo.get_config("tood_R_50_FPN_1x.yaml", trained=True)
    assert isinstance(yaml, CfgNode)
    assert yaml.MODEL.WEIGHTS == "tood://tood_R_50_FPN_1x"
    assert model_zoo.get_config("tood_R_50_FPN_1x.yaml").MODEL.WEIGHTS.startswith("detectron2://")


@pytest.mark.parametrize(
    ("wrong", "close"),
    [
        ("tood_R50_FPN_1x", "tood_R_50_FPN_1x"),
        ("tood_r_101_dcn_fpn_2x.yaml", "tood_R_101_DCN_FPN_2x"),
        ("Base-TOOD.yaml", "tood_"),
        ("../configs/tood_R_50_FPN_1x", "tood_R_50_FPN_1x"),
        ("", "tood_"),
    ],
)
def test_wrong_names_are_answered_with_close_ones(wrong, close):
    with pytest.raises(ValueError, match=close) as info:
        model_zoo.get_config(wrong)
    assert repr(wrong) in str(info.value)

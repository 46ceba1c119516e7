"""Sizes of the network input that follow from the objects."""

from dataclasses import replace
from pathlib import Path

import pytest

from detectron2.structures import BoxMode
from tood_d2.config import fit_input_size, load_run

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
OPTION = {"py": "dataset.min_object_size", "yaml": "DATASETS.MIN_OBJECT_SIZE"}


def fit(kind, sides, *, wanted=20.0, image=(400, 800), overridden=()):
    """Fits R-50 1x, 800 pixels and at most 1333, to square objects of images of one size."""
    run = load_run(str(CONFIGS / f"tood_R_50_FPN_1x.{kind}"))
    run = replace(run.with_options(min_object_size=wanted), overridden=dict.fromkeys(overridden))
    boxes = [{"bbox": [5, 5, x, x], "bbox_mode": BoxMode.XYWH_ABS} for x in sides]
    record = {"height": image[0], "width": image[1], "annotations": boxes}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(run), "training_dicts", lambda self: [record])
        return fit_input_size(run)


def sizes(run):
    """Short edges and limits of the long edge in training and in testing."""
    if "INPUT" in run.cfg:
        node = run.cfg.INPUT
        short = [*node.MIN_SIZE_TRAIN, node.MIN_SIZE_TEST]
        return [*short, node.MAX_SIZE_TRAIN, node.MAX_SIZE_TEST]
    train, test = (run.cfg.dataloader[x].mapper.augmentations[0] for x in ("train", "test"))
    return [*train.short_edge_length, test.short_edge_length, train.max_size, test.max_size]


@pytest.mark.parametrize("kind", OPTION)
def test_images_are_enlarged_for_small_objects(kind):
    # Images of 400 x 800 become 666.5 x 1333 (the limit of the longer side): 1.66625 times larger.
    # Ten objects of 8 pixels have 13.33, so 20 need 1.5 times the size: 800 * 1.5 = 1200, of which
    # the next multiple of 32 is 1216. 1333 * 1216 / 800 = 2026.2
    run = fit(kind, [8] * 10)
    assert sizes(run) == [1216, 1216, 2026, 2026]
    assert run.options.min_object_size == 0  # not twice


@pytest.mark.parametrize("kind", OPTION)
def test_one_object_in_ten_may_be_smaller(kind):
    assert sizes(fit(kind, [1, *[30] * 10])) == [800, 800, 1333, 1333]
    # The first tenth of 1, 1, 30, ... is 1: more than twice the size is not taken.
    assert sizes(fit(kind, [1, 1, *[30] * 9])) == [1600, 1600, 2666, 2666]


@pytest.mark.parametrize("kind", OPTION)
@pytest.mark.parametrize("sides", [[], [12.1], [300]])
def test_sizes_stay_where_no_object_is_small(kind, sides):
    # 12.1 * 1.66625 = 20.2
    run = fit(kind, sides)
    assert sizes(run) == [800, 800, 1333, 1333]


@pytest.mark.parametrize("kind", OPTION)
def test_off_by_default(kind):
    run = load_run(str(CONFIGS / f"tood_R_50_FPN_1x.{kind}"))
    assert run.options.min_object_size == 0
    assert fit_input_size(run) is run


@pytest.mark.parametrize(
    "kind, key",
    [
        ("py", "dataloader.train.mapper.augmentations.0.short_edge_length"),
        ("py", "dataloader.test.mapper.augmentations.0.short_edge_length"),
        ("yaml", "INPUT.MIN_SIZE_TRAIN"),
        ("yaml", "INPUT.MIN_SIZE_TEST"),
    ],
)
def test_sizes_that_the_user_gave_stay(kind, key):
    assert sizes(fit(kind, [1], overridden=[key])) == [800, 800, 1333, 1333]


@pytest.mark.parametrize("kind", OPTION)
def test_the_change_is_logged(kind, log):
    fit(kind, [8])
    assert f"{OPTION[kind]}: a tenth of the objects are smaller than 13 pixels" in log.text
    assert "at an input size of 800, so it becomes 1216" in log.text

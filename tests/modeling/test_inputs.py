"""What mappers give to the model, by hand and of any kind."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from detectron2.structures import Boxes, Instances, Keypoints, PolygonMasks, RotatedBoxes
from tood_d2.modeling import build_fpn, build_resnet
from tood_d2.modeling.inputs import ground_truth

SIZE = (64, 64)
phases = pytest.mark.parametrize("iteration", [0, 1], ids=["initial", "tal"])


def sample(boxes=((8, 8, 56, 56),), classes=(1,), image=None):
    instances = Instances(SIZE)
    instances.gt_boxes = Boxes(torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4))
    instances.gt_classes = torch.tensor(classes, dtype=torch.int64)
    image = torch.zeros(3, *SIZE, dtype=torch.uint8) if image is None else image
    return {"image": image, "instances": instances, "file_name": "images/a.png", "image_id": 7}


@pytest.fixture(scope="module")
def model(tiny_tood):
    torch.manual_seed(0)
    return tiny_tood()


class TestImages:
    def test_pixels_may_be_numbers_of_any_type(self, model):
        image = torch.randint(256, (3, *SIZE), dtype=torch.uint8)
        expected = model.preprocess_image([{"image": image}]).tensor
        for dtype in (torch.int64, torch.float16, torch.float32, torch.float64):
            actual = model.preprocess_image([{"image": image.to(dtype)}]).tensor
            torch.testing.assert_close(actual, expected)

    @pytest.mark.parametrize("shape", [(1, 64, 64), (4, 64, 64), (64, 64), (64, 64, 3)])
    def test_other_channels_are_refused_by_name(self, model, shape):
        bad = sample(image=torch.zeros(shape, dtype=torch.uint8))
        with pytest.raises(ValueError, match=r"images/a\.png .*3 channels.*PIXEL_MEAN"):
            model([sample(), bad], iteration=0)

    @pytest.mark.parametrize("channels", [1, 4])
    def test_models_of_other_channels_train_and_detect(self, tiny_tood, channels):
        resnet = build_resnet(depth=18, in_channels=channels, width=16, norm="BN", freeze_at=0)
        statistics = {"pixel_mean": [128.0] * channels, "pixel_std": [50.0] * channels}
        model = tiny_tood(backbone=build_fpn(resnet, out_channels=64), **statistics)
        batch = [sample(image=torch.randint(256, (channels, *SIZE), dtype=torch.uint8))] * 2
        assert all(0 < x.item() < 100 for x in model(batch, iteration=1).values())
        assert len(model.eval()(batch)) == 2


class TestStatistics:
    def test_as_many_means_as_deviations(self, tiny_tood):
        with pytest.raises(ValueError, match=r"pixel_std.*not 1 and 3"):
            tiny_tood(pixel_mean=[128.0])

    def test_whole_numbers_are_as_good(self, tiny_tood):
        model = tiny_tood(pixel_mean=[128] * 3, pixel_std=[50] * 3)
        batch = [sample(image=torch.full((3, *SIZE), 129, dtype=torch.uint8))]
        assert (model.preprocess_image(batch).tensor == 1 / 50).all()

    def test_as_many_as_the_backbone_has_channels(self, tiny_tood):
        backbone = build_fpn(build_resnet(depth=18, width=16), out_channels=64)
        with pytest.raises(ValueError, match=r"1 values.*3 channels.*bottom_up\.in_channels"):
            tiny_tood(backbone=backbone, pixel_mean=[128.0], pixel_std=[50.0])


class TestGroundTruth:
    def test_fields_that_are_not_used_are_left_out(self, model):
        plain, rich = sample(), sample()
        rich["instances"].gt_masks = PolygonMasks([[torch.tensor([8.0, 8, 56, 8, 56, 56])]])
        rich["instances"].gt_keypoints = Keypoints(torch.zeros(1, 17, 3))
        (instances,) = ground_truth([rich], 3)
        assert set(instances.get_fields()) == {"gt_boxes", "gt_classes"}
        losses = [model([x], iteration=1) for x in (plain, rich)]
        assert losses[0] == losses[1]

    def test_classes_of_no_objects_may_be_of_any_type(self, model):
        empty = sample((), ())
        empty["instances"].gt_classes = torch.tensor([])  # float32
        assert all(x.isfinite() for x in model([empty, sample()], iteration=1).values())

    @phases
    @pytest.mark.parametrize(
        "change, words",
        [
            (lambda x: x.pop("instances"), "without gt_boxes"),
            (lambda x: x.update(instances=Instances(SIZE)), "without gt_boxes"),
            (
                lambda x: x["instances"].set("gt_boxes", RotatedBoxes(torch.ones(1, 5))),
                "rotated boxes are not supported",
            ),
            (lambda x: x["instances"].set("gt_boxes", torch.ones(1, 4)), "Boxes, not Tensor"),
            (lambda x: x["instances"].set("gt_classes", torch.tensor([3])), "label 3.*are 0 to 2"),
            (lambda x: x["instances"].set("gt_classes", torch.tensor([-1])), "label -1.*num_class"),
            *(
                (lambda x, y=y: x["instances"].gt_boxes.tensor.fill_(y), f"coordinate {y}")
                for y in (math.nan, math.inf, -math.inf, 1e30)
            ),
        ],
    )
    def test_errors_name_the_image(self, model, change, words, iteration):
        bad = sample()
        change(bad)
        with pytest.raises(ValueError, match=rf"images/a\.png.*{words}".replace("+", r"\+")):
            model([sample(), bad], iteration)

    def test_errors_name_the_id_without_a_file(self):
        bad = sample(classes=(5,))
        del bad["file_name"]
        with pytest.raises(ValueError, match="image 7 has an object with the label 5"):
            ground_truth([bad], 3)


COORDINATES = [-1e9, -1e6, -8, -1e-3, 0, 3, 8, 8.01, 30, 63.99, 64, 100, 1e6, 1e9]
objects = st.tuples(
    st.lists(st.sampled_from(COORDINATES), min_size=4, max_size=4), st.integers(0, 2)
)


@phases
@given(images=st.lists(st.lists(objects, max_size=5), min_size=1, max_size=2))
def test_losses_and_gradients_are_finite_for_any_objects(model, iteration, images):
    """Empty, turned inside out, outside of the image, larger than it, several times the same."""
    batch = [sample(*zip(*x, strict=True)) if x else sample((), ()) for x in images]
    losses = model(batch, iteration)
    model.zero_grad()
    sum(losses.values()).backward()
    assert all(loss.isfinite() and loss >= 0 for loss in losses.values())
    assert all(x.grad.isfinite().all() for x in model.parameters())

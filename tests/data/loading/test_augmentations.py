"""Augmentations of Detectron2 and torchvision in the mapper: images, boxes and classes agree."""

import numpy as np
import pytest
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torchvision.transforms import v2

import detectron2.data.transforms as T
from detectron2.config import LazyCall as L
from detectron2.config import LazyConfig, instantiate
from detectron2.structures import BoxMode
from tood_d2.config.calls import create_lazy_config
from tood_d2.data import DatasetMapper
from tood_d2.data.loading.aug_input import ImageWithBoxes
from tood_d2.data.loading.augmentations import TorchvisionAugmentation
from tood_d2.data.loading.samples import seeded

VALUES = (100, 160, 220)  # of the pixels of three objects
EXACT = {
    "horizontal flip": [T.RandomFlip(0.5)],
    "vertical flip": [T.RandomFlip(0.5, horizontal=False, vertical=True)],
    "rotation": [T.RandomRotation([0, 90, 180, 270], sample_style="choice")],
    "crop": [T.RandomCrop("relative_range", (0.4, 0.4))],
    "crop with a box": [T.MinIoURandomCrop()],
    "fixed size": [T.FixedSizeCrop((30, 60), pad_value=0)],
    "crop and pad": [T.RandomCrop("absolute", (20, 20)), T.FixedSizeCrop((50, 50), pad_value=0)],
    "torchvision's flips": [v2.RandomHorizontalFlip(), v2.RandomVerticalFlip()],
    "torchvision's rotation": [
        v2.RandomChoice([v2.RandomRotation((x, x), expand=True) for x in (90, 180, 270)])
    ],
    "torchvision's crop": [v2.RandomCrop((20, 30))],
    "torchvision's crop with a box": [v2.RandomIoUCrop()],
    "zoom out": [v2.RandomZoomOut(fill=0)],
    "compose": [
        v2.Compose([v2.RandomIoUCrop(), v2.SanitizeBoundingBoxes(), v2.RandomZoomOut()]),
        T.RandomFlip(),
    ],
}

OF_CENTRES = ("torchvision's crop with a box", "compose")
"""They leave out objects whose centre is not seen, or that are thinner than a pixel."""


@pytest.fixture(scope="module")
def record(tmp_path_factory):
    """An image of 64 x 48 pixels with three objects: class i has the value VALUES[i]."""
    pixels = np.zeros((48, 64, 3), np.uint8)
    annotations = []
    for i, (x1, y1, x2, y2) in enumerate([(3, 5, 20, 17), (30, 2, 60, 30), (8, 25, 25, 47)]):
        pixels[y1:y2, x1:x2] = VALUES[i]
        box = {"bbox": [x1, y1, x2, y2], "bbox_mode": BoxMode.XYXY_ABS, "category_id": i}
        annotations.append(box)
    path = tmp_path_factory.mktemp("augmentations") / "image.png"
    Image.fromarray(pixels).save(path)
    return {"file_name": str(path), "width": 64, "height": 48, "annotations": annotations}


def extents(image):
    """The boxes of the objects that an image (3, H, W) shows, by class."""
    result = {}
    for label, value in enumerate(VALUES):
        ys, xs = np.nonzero(image[0].numpy() == value)
        if len(ys):
            box = [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]
            result[label] = [float(x) for x in box]
    return result


@pytest.mark.parametrize("name", EXACT)
@given(seed=st.integers(0, 10**6))
def test_boxes_are_where_the_objects_are(record, name, seed):
    mapper = DatasetMapper(True, augmentations=EXACT[name], image_format="BGR")
    with seeded(seed):
        sample = mapper(record)
    instances = sample["instances"]
    found = dict(
        zip(instances.gt_classes.tolist(), instances.gt_boxes.tensor.tolist(), strict=True)
    )
    seen = extents(sample["image"])
    if name in OF_CENTRES:
        assert found.keys() <= seen.keys()
    else:
        assert found.keys() == seen.keys()
    assert found or "with a box" not in name
    for label, box in found.items():
        assert box == pytest.approx(seen[label], abs=1e-4)
    assert instances.image_size == tuple(sample["image"].shape[1:])


def test_large_scale_jitter(record, monkeypatch):
    """Twice the size, of which 40 x 40 pixels are cut out at (44, 28)."""
    monkeypatch.setattr(np.random, "uniform", lambda *args: 0.5 if args == (0.0, 1.0) else 2.0)
    jitter = [T.ResizeScale(0.5, 2.0, 48, 64), T.FixedSizeCrop((40, 40))]
    mapper = DatasetMapper(True, augmentations=jitter, image_format="BGR", min_visible=0.1)
    instances = mapper(record)["instances"]
    # At twice the size, the boxes are (6, 10, 40, 34), (60, 4, 120, 60) and (16, 50, 50, 94). Of
    # the second one 24 x 32 of 60 x 56 pixels are left, 23%; of the third 6 x 18 of 34 x 44, 7%.
    assert instances.gt_classes.tolist() == [1]
    assert instances.gt_boxes.tensor.tolist() == [[16, 0, 40, 32]]


def test_a_part_without_objects(record):
    crop = T.CropTransform(60, 30, 4, 18)
    sample = DatasetMapper(True, augmentations=[crop], image_format="BGR")(record)
    assert sample["image"].shape == (3, 18, 4) and len(sample["instances"]) == 0


def test_what_was_cut_off_does_not_come_back():
    pixels = np.zeros((10, 10, 3), np.uint8)
    boxes = np.array([[0.0, 2, 10, 4], [6, 6, 9, 9], [-3, 0, 2, 20]])
    aug_input = ImageWithBoxes(pixels, boxes, "BGR")
    assert aug_input.visible.tolist() == [1, 1, 0.2]  # 2 x 10 of 5 x 20
    aug_input.transform(T.CropTransform(0, 0, 5, 10))
    aug_input.transform(T.PadTransform(0, 0, 5, 0))
    assert aug_input.image.shape == (10, 10, 3)
    assert aug_input.boxes.tolist() == [[0, 2, 5, 4], [5, 6, 5, 9], [0, 0, 2, 10]]
    assert aug_input.visible.tolist() == [0.5, 0, 0.2]


@pytest.mark.parametrize(("image_format", "expected"), [("BGR", 29), ("RGB", 76)])
def test_torchvision_sees_rgb(image_format, expected):
    # Luma is 0.2989 R + 0.587 G + 0.114 B. The first channel has the value 255.
    pixels = np.zeros((4, 4, 3), np.uint8)
    pixels[:, :, 0] = 255
    aug_input = ImageWithBoxes(pixels, np.zeros((0, 4)), image_format)
    TorchvisionAugmentation(v2.RandomGrayscale(1.0))(aug_input)
    assert (aug_input.image == expected).all() and aug_input.boxes.shape == (0, 4)


def test_torchvision_scales_boxes_of_fractions():
    aug_input = ImageWithBoxes(
        np.zeros((20, 40, 3), np.uint8), np.array([[1.5, 2, 9.25, 7]]), "BGR"
    )
    TorchvisionAugmentation(v2.Resize((30, 50)))(aug_input)  # 1.5 times as high, 1.25 as wide
    assert aug_input.boxes.tolist() == [[1.875, 3, 11.5625, 10.5]]


def test_torchvision_on_one_channel():
    aug_input = ImageWithBoxes(np.full((20, 40, 1), 100, np.uint8), np.zeros((0, 4)), "L")
    TorchvisionAugmentation(v2.ColorJitter(brightness=(2, 2)))(aug_input)
    assert aug_input.image.shape == (20, 40, 1) and (aug_input.image == 200).all()


@pytest.mark.parametrize("annotated", [True, False])
def test_a_search_for_boxes_ends_without_boxes(record, annotated):
    # Without the option 1.0, torchvision itself searches forever.
    crops = [T.CropTransform(60, 30, 4, 5), v2.RandomIoUCrop(sampler_options=[0.1])]
    mapper = DatasetMapper(True, augmentations=crops, image_format="BGR")
    with seeded(0):
        sample = mapper(record | ({} if annotated else {"annotations": []}))
    assert len(sample["instances"]) == 0


def test_torchvision_draws_from_the_seed_of_the_sample(record):
    augmentations = [
        v2.RandomPhotometricDistort(p=1.0),
        v2.RandomZoomOut(),
        v2.ScaleJitter((48, 64)),
    ]
    mapper = DatasetMapper(True, augmentations=augmentations, image_format="BGR")
    samples = []
    for seed in (1, 2, 1):
        with seeded(seed):
            samples.append(mapper(record))
    first, other, again = (x["image"] for x in samples)
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_configs_name_torchvisions_transforms(tmp_path):
    transforms = [
        L(v2.ScaleJitter)(target_size=(48, 64), scale_range=(0.5, 1.5)),
        L(v2.RandomZoomOut)(fill=114, side_range=(1.0, 2.0)),
        L(v2.RandomIoUCrop)(sampler_options=[0.0, 0.5, 1.0]),
        L(v2.RandomAffine)(degrees=10, translate=(0.1, 0.1), scale=(0.8, 1.2), fill=114),
        L(v2.ColorJitter)(brightness=0.4, contrast=(0.5, 1.5)),
        L(v2.Compose)(transforms=[L(v2.RandomPhotometricDistort)(), L(v2.SanitizeBoundingBoxes)()]),
    ]
    cfg = L(DatasetMapper)(is_train=True, augmentations=transforms, image_format="BGR")
    path = tmp_path / "config.yaml"
    LazyConfig.save(cfg, str(path))
    mapper = instantiate(create_lazy_config(yaml.safe_load(path.read_text()), str(path), []))
    kinds = [type(x.transform).__name__ for x in mapper.augmentations.augs]
    assert kinds == [
        "ScaleJitter", "RandomZoomOut", "RandomIoUCrop", "RandomAffine", "ColorJitter", "Compose"
    ]  # fmt: skip


def test_torchvision_transforms_no_masks(record):
    mapper = DatasetMapper(
        True, augmentations=[v2.RandomZoomOut()], image_format="BGR", use_instance_mask=True
    )
    with pytest.raises(NotImplementedError, match="use_instance_mask and use_keypoint"):
        mapper(record)


def test_torchvision_needs_the_mapper():
    augmentation = TorchvisionAugmentation(v2.RandomZoomOut())
    with pytest.raises(TypeError, match="RandomZoomOut.*works in the mapper of training"):
        augmentation(T.AugInput(np.zeros((4, 4, 3), np.uint8)))

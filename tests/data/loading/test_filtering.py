import pytest

from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.datasets import register_coco_instances
from detectron2.structures import BoxMode
from tood_d2.data import get_training_dicts


@pytest.fixture
def register():
    """Registers (width, height, boxes XYWH, crowd flags) images as a data set."""
    names = []

    def _register(*images):
        dicts = [
            {
                "file_name": f"{i}.png",
                "image_id": i,
                "width": width,
                "height": height,
                "annotations": [
                    {
                        "bbox": box,
                        "bbox_mode": BoxMode.XYWH_ABS,
                        "category_id": 0,
                        "iscrowd": crowd,
                    }
                    for box, crowd in boxes
                ],
            }
            for i, (width, height, boxes) in enumerate(images)
        ]
        names.append(f"filtering_{len(names)}")
        DatasetCatalog.register(names[-1], lambda: dicts)
        return names[-1]

    yield _register
    for name in names:
        DatasetCatalog.pop(name)


GOOD = ([10, 10, 20, 20], 0)


def kept(name, **kwargs):
    return {
        image["image_id"]: [x["bbox"] for x in image["annotations"]]
        for image in get_training_dicts(name, **kwargs)
    }


def test_boxes_without_extent_are_left_out(register):
    small = [
        ([5, 5, 0.9, 20], 0),  # a side under 1 pixel
        ([5, 5, 20, 0.9], 0),
        ([5, 5, 0, 0], 0),
        ([5, 5, -3, 8], 0),
        ([-30, 5, 20, 20], 0),  # to the left of the image
        ([5, 64, 20, 20], 0),  # below it: it ends at 64
    ]
    one_pixel = ([5, 5, 1, 1], 0)
    name = register((64, 64, [GOOD, *small, one_pixel]))
    assert kept(name) == {0: [GOOD[0], one_pixel[0]]}


def test_images_without_boxes_or_too_small_are_left_out(register):
    name = register(
        (64, 64, [GOOD]),
        (64, 64, []),
        (64, 64, [([10, 10, 20, 20], 1)]),  # a crowd is not a target
        (64, 31, [GOOD]),
        (64, 32, [GOOD]),
        (64, 64, [([5, 5, 0.5, 0.5], 0)]),
    )
    assert set(kept(name)) == {0, 4}
    assert set(kept(name, filter_empty=False)) == {0, 1, 2, 4, 5}


def test_the_registered_data_are_left_alone(register):
    name = register((64, 64, [GOOD, ([5, 5, 0.5, 0.5], 0)]))
    get_training_dicts(name)
    assert len(DatasetCatalog.get(name)[0]["annotations"]) == 2


def test_nothing_left_is_an_error(register):
    name = register((64, 64, []))
    with pytest.raises(ValueError, match=name):
        get_training_dicts(name)


def test_labels_beyond_the_classes_are_refused(register):
    name = register((64, 64, [GOOD]), (64, 64, [GOOD, GOOD]))
    DatasetCatalog.get(name)[1]["annotations"][1]["category_id"] = 3
    assert len(kept(name)) == len(kept(name, num_classes=4)) == 2
    with pytest.raises(ValueError, match=r"1\.png in filtering_.*label 3.*3 classes.*0 to 2"):
        kept(name, num_classes=3)


def test_records_that_lack_something_are_named(register):
    name = register((100, 80, [GOOD]))
    (record,) = DatasetCatalog.get(name)
    del record["width"]
    with pytest.raises(ValueError, match=f"0.png of data set {name} has no width"):
        get_training_dicts(name)


def test_rotated_boxes_are_refused(register):
    name = register((100, 80, [GOOD]))
    (record,) = DatasetCatalog.get(name)
    record["annotations"][0] |= {"bbox": [10, 10, 5, 5, 45], "bbox_mode": BoxMode.XYWHA_ABS}
    with pytest.raises(ValueError, match="0.png: rotated boxes are not supported"):
        get_training_dicts(name)


def test_other_classes_than_the_registered_ones_are_named(shapes):
    register_coco_instances("filtering_coco", {}, str(shapes / "val.json"), str(shapes / "val"))
    MetadataCatalog.get("filtering_coco").thing_classes = ["person", "bicycle"]
    try:
        with pytest.raises(
            ValueError, match=r"(?s)filtering_coco.*thing_classes.*dataset.train_json"
        ):
            get_training_dicts("filtering_coco")
    finally:
        DatasetCatalog.pop("filtering_coco")
        MetadataCatalog.pop("filtering_coco")


def test_data_of_crowds_alone_are_told_as_such(register):
    name = register((100, 80, [([10, 10, 20, 20], 1), ([10, 10, 30, 20], 1)]))
    with pytest.raises(ValueError, match=r"no image to train on .* other than 2 crowds \(iscrowd"):
        get_training_dicts(name)

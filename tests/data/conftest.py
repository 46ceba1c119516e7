"""A data set in COCO's form without problems."""

import pytest


@pytest.fixture
def content():
    """Two images, the one in a sub-folder, with two boxes; ids with gaps, no info or licences."""
    box = {"id": 1, "image_id": 7, "category_id": 3, "bbox": [10, 10, 30, 20], "area": 600}
    box |= {"iscrowd": 0}
    other = {"id": 5, "image_id": 20, "category_id": 9, "bbox": [0, 0, 64, 48]}
    return {
        "images": [
            {"id": 7, "file_name": "sub/a.png", "width": 100, "height": 80},
            {"id": 20, "file_name": "b.png", "width": 64, "height": 48},
        ],
        "annotations": [box, box | other],
        "categories": [{"id": 3, "name": "cat"}, {"id": 9, "name": "dog"}],
    }

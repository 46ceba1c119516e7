"""Data sets in COCO's JSON form, registered by their files."""

from detectron2.data import DatasetCatalog, Metadata, MetadataCatalog

from ..sharing import once_per_machine
from .dataset import CocoDataset, load_coco
from .image_files import find_image_files
from .reading import check_image_headers


def register_coco_json(json_file: str, image_root: str, damaged_ok: bool = False) -> Metadata:
    """Registers a data set under the path of its JSON file, checked and loaded at once.

    So classes are known before training. Registering the same file again has no effect. Of several
    processes, all of which have to call this, one on each machine reads the file and looks at the
    images.

    Args:
        json_file: annotations in COCO's form. Category ids may have gaps.
        image_root: folder that the images' file names are relative to, see
            :func:`.find_image_files`.
        damaged_ok: whether to leave files that are no images to the training loader, which
            replaces some.

    Returns:
        Metadata with ``thing_classes``, the class names by ascending category id.

    Raises:
        FileNotFoundError, ValueError: see :func:`.load_coco` and :func:`.check_image_headers`.
    """
    if json_file not in DatasetCatalog:

        def load() -> tuple[CocoDataset, list[str]]:
            dataset = load_coco(json_file)
            check_image_headers(dataset.image_items(), json_file, image_root, damaged_ok)
            return dataset, find_image_files(dataset.file_names, image_root)

        dataset, image_files = once_per_machine(load)
        DatasetCatalog.register(json_file, lambda: dataset.dataset_dicts(image_files))
        MetadataCatalog.get(json_file).set(
            thing_classes=dataset.class_names,
            thing_dataset_id_to_contiguous_id={
                id_: label for label, id_ in enumerate(dataset.category_ids)
            },
            json_file=json_file,
            image_root=image_root,
            evaluator_type="coco",
            is_annotated=dataset.is_annotated,
        )
    return MetadataCatalog.get(json_file)

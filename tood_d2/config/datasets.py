"""The data sets of a run."""

import os
from collections.abc import Collection

from detectron2.data import DatasetCatalog, Metadata, MetadataCatalog
from detectron2.utils import comm

from ..data.coco.dataset import load_coco
from ..data.coco.registration import register_coco_json
from .run import Run
from .sources import with_source

SPLITS = ("train", "test")


def register_datasets(run: Run, needed: Collection[str] = ()) -> Run:
    """Registers the JSON files of a run and fills in what follows from them.

    The files are the options ``train_json``, ``test_json`` and so on, or follow from ``source``.
    What follows are the names of the data sets, the class names and the number of classes. The
    class names of data sets that are registered otherwise are filled in, too, for those who use the
    trained model.

    Args:
        run: as it was loaded.
        needed: the splits that have to be there, "train", "test" or both.

    Raises:
        FileNotFoundError, ValueError: see :func:`.with_source` and :func:`.register_coco_json`.
        ValueError: if a JSON file comes without its images or the other way round, if only
            training data are given, if the two files differ in their categories, or if the user
            asks for another number of classes.
    """
    run = with_source(run)
    options = run.options
    metadata: dict[str, Metadata] = {}
    for split in SPLITS:
        json_file, images = getattr(options, f"{split}_json"), getattr(options, f"{split}_images")
        if bool(json_file) != bool(images):
            keys = run.key(f"{split}_json"), run.key(f"{split}_images")
            raise ValueError(f"{' and '.join(keys)} go together")
        if json_file:
            is_training = split == "train"
            metadata[split] = register_coco_json(json_file, images, damaged_ok=is_training)
            if is_training and not metadata[split].is_annotated:
                raise ValueError(f"{json_file} has no annotations: nothing to train on")
    if list(metadata) == ["train"]:
        raise ValueError(f"{run.key('test_json')} and {run.key('test_images')} are missing")
    if not metadata:
        for split in needed:
            _check_registered(run, split)
        known = run.known_class_names
        return run.with_options(class_names=known) if known else run
    if len(metadata) == 2:
        train, test = (  # ids that are numbers in one file may be text in the other
            [*zip(map(str, x.thing_dataset_id_to_contiguous_id), x.thing_classes, strict=True)]
            for x in metadata.values()
        )
        if train != test:
            different = sorted({*train} ^ {*test}) or test  # in another order
            raise ValueError(
                f"{options.train_json} and {options.test_json} differ in their categories: "
                + ", ".join(f"{id_} ({name})" for id_, name in different)
            )
    classes = list(metadata["test"].thing_classes)
    key = run.key("num_classes")
    if key in run.overridden and options.num_classes != len(classes):
        raise ValueError(
            f"{key} is {options.num_classes}, but {options.test_json} has {len(classes)} classes: "
            "leave it out"
        )
    run = run.with_datasets(**{split: x.name for split, x in metadata.items()})
    ids = list(metadata["test"].thing_dataset_id_to_contiguous_id)
    return run.with_options(class_names=classes, category_ids=ids, num_classes=len(classes))


def _check_registered(run: Run, split: str) -> None:
    """Raises an error if a data set by name is not known, or Detectron2 would not find its file."""
    own = f"give your own as {run.key(f'{split}_json')} and {run.key(f'{split}_images')}"
    for name in getattr(run, f"{split}_names"):
        if name not in DatasetCatalog:
            raise ValueError(
                f"no data set {name!r} is registered: name the package that does it by --trust, "
                f"or {own}"
            )
        metadata = MetadataCatalog.get(name)
        json_file = metadata.get("json_file")
        if json_file and not os.path.isfile(json_file):
            raise FileNotFoundError(
                f"{json_file}: the annotations of {name} are not there. Set DETECTRON2_DATASETS to "
                f"the folder that holds coco/, or {own}"
            )
        is_coco = metadata.get("evaluator_type") == "coco"  # LVIS' files have other fields
        if json_file and is_coco and split == "test" and comm.is_main_process():
            load_coco(json_file)  # which evaluation does, after all of training

"""The data sets of configs of both kinds."""

import json
from collections.abc import Iterable

from omegaconf import DictConfig, OmegaConf

from detectron2.config import CfgNode, instantiate
from detectron2.data import (
    DatasetCatalog,
    DatasetMapper,
    Metadata,
    MetadataCatalog,
    get_detection_dataset_dicts,
)
from detectron2.data.detection_utils import build_augmentation
from detectron2.utils import comm

from ..data import build_test_loader, get_training_dicts, register_coco_json


def register_datasets(cfg: CfgNode | DictConfig) -> None:
    """Registers the JSON files of a config and fills in what follows from them.

    The files are ``cfg.dataset.train_json`` and so on, in YAML ``cfg.DATASETS.TRAIN_JSON`` and so
    on. What follows are the names of the data sets, the class names and the number of classes.

    Raises:
        ValueError: if a JSON file comes without its images or the other way round, if only
            training data is given, or if the two files differ in their categories.
    """
    lazy = not isinstance(cfg, CfgNode)
    if lazy and "dataset" not in cfg:  # a config of somebody else's, with data sets by name
        return
    node = cfg.dataset if lazy else cfg.DATASETS

    def key(name: str) -> str:
        return name if lazy else name.upper()

    prefix = "dataset." if lazy else "DATASETS."
    metadata = {}
    for split in ("train", "test"):
        json_key, images_key = key(f"{split}_json"), key(f"{split}_images")
        json_file, images = node[json_key], node[images_key]
        if bool(json_file) != bool(images):
            raise ValueError(f"{prefix}{json_key} and {prefix}{images_key} go together")
        if json_file:
            metadata[split] = register_coco_json(json_file, images)
            node[key(split)] = json_file if lazy else (json_file,)
    if list(metadata) == ["train"]:
        missing = [prefix + key(name) for name in ("test_json", "test_images")]
        raise ValueError(f"{' and '.join(missing)} are missing")
    if len(metadata) == 2:
        train, test = (_categories(metadata[split]) for split in ("train", "test"))
        if train != test:
            different = sorted(train.items() ^ test.items())
            raise ValueError(
                f"{node[key('train_json')]} and {node[key('test_json')]} differ in their "
                f"categories: " + ", ".join(f"{id_} ({name})" for id_, name in different)
            )
    if metadata:
        names = metadata["test"].thing_classes
        node[key("class_names")] = list(names)
        if lazy:
            cfg.model.num_classes = len(names)
        else:
            cfg.MODEL.TOOD.NUM_CLASSES = len(names)


def _categories(metadata: Metadata) -> dict[int, str]:
    ids = metadata.thing_dataset_id_to_contiguous_id
    return dict(zip(ids, metadata.thing_classes, strict=True))


def class_names(cfg: CfgNode | DictConfig) -> list[str]:
    """Names of the classes that the config's model detects; numbers if they are not known."""
    if names := known_class_names(cfg):
        return names
    lazy = not isinstance(cfg, CfgNode)
    return [str(i) for i in range(cfg.model.num_classes if lazy else cfg.MODEL.TOOD.NUM_CLASSES)]


def known_class_names(cfg: CfgNode | DictConfig) -> list[str]:
    """Names of the classes that the config's model detects, empty if they are not known."""
    if isinstance(cfg, CfgNode):
        names, datasets = cfg.DATASETS.CLASS_NAMES, [*cfg.DATASETS.TEST, *cfg.DATASETS.TRAIN]
    else:
        names, datasets = OmegaConf.select(cfg, "dataset.class_names"), []
        for split in ("test", "train"):
            value = OmegaConf.select(cfg, f"dataloader.{split}.dataset.names", default=[])
            datasets += [value] if isinstance(value, str) else value
    if names:
        return list(names)
    metadata = (MetadataCatalog.get(x) for x in datasets)
    return next((list(x.thing_classes) for x in metadata if x.get("thing_classes")), [])


def category_ids(cfg: CfgNode | DictConfig) -> list[int]:
    """Ids of the classes in the data set, as COCO's results name them.

    They are read from the config's test data, if these are there, or known for data sets that
    Detectron2 registers; else they count from 1.
    """
    names = class_names(cfg)
    if isinstance(cfg, CfgNode):
        json_file, datasets = cfg.DATASETS.TEST_JSON, [*cfg.DATASETS.TEST, *cfg.DATASETS.TRAIN]
    else:
        json_file = OmegaConf.select(cfg, "dataset.test_json")
        datasets = [OmegaConf.select(cfg, f"dataset.{split}") for split in ("test", "train")]
    try:
        with open(json_file or "") as f:
            categories = sorted((x["id"], x["name"]) for x in json.load(f)["categories"])
        if [name for _, name in categories] == names:
            return [id_ for id_, _ in categories]
    except (KeyError, OSError, TypeError, ValueError):  # other or no data are no error here
        pass
    for dataset in datasets:
        metadata = MetadataCatalog.get(dataset) if dataset in DatasetCatalog else Metadata()
        ids = metadata.get("thing_dataset_id_to_contiguous_id")
        if ids and metadata.get("thing_classes") == names:
            return sorted(ids, key=ids.get)
    return list(range(1, len(names) + 1))


def annotated_test_data(cfg: CfgNode | DictConfig) -> tuple[list[dict], DatasetMapper]:
    """Detectron2's dataset dicts of the test data, and a mapper that keeps the ground truth.

    A mapper for testing drops it. Images and objects come in pixels of the network input.
    """
    if isinstance(cfg, CfgNode):
        mapper = DatasetMapper(
            is_train=True,
            augmentations=build_augmentation(cfg, is_train=False),
            image_format=cfg.INPUT.FORMAT,
        )
        return get_detection_dataset_dicts(cfg.DATASETS.TEST, filter_empty=False), mapper
    register_datasets(cfg)
    mapper = instantiate(OmegaConf.merge(cfg.dataloader.test.mapper, {"is_train": True}))
    return instantiate(cfg.dataloader.test.dataset), mapper


def build_validation_loader(cfg: CfgNode | DictConfig) -> Iterable[list[dict]]:
    """The test data with its ground truth, an image a batch, as many in each process.

    Up to one image less than there are processes is left out for that.
    """
    records, mapper = annotated_test_data(cfg)
    rank, num_processes = comm.get_rank(), comm.get_world_size()
    share = range(rank, len(records) - len(records) % num_processes, num_processes)
    return build_test_loader(records, mapper=mapper, sampler=share)


def training_data(cfg: CfgNode | DictConfig) -> list[dict]:
    """Detectron2's dataset dicts of the images that the config's model is trained on."""
    if isinstance(cfg, CfgNode):
        filter_empty = cfg.DATALOADER.FILTER_EMPTY_ANNOTATIONS
        return get_training_dicts(cfg.DATASETS.TRAIN, filter_empty)
    return instantiate(cfg.dataloader.train.dataset)


def count_training_images(cfg: CfgNode | DictConfig) -> int:
    """Number of images that the config's model is trained on."""
    return len(training_data(cfg))

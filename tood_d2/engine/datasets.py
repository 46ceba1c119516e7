"""The data sets of configs of both kinds."""

from omegaconf import DictConfig, OmegaConf

from detectron2.config import CfgNode, instantiate
from detectron2.data import (
    DatasetMapper,
    Metadata,
    MetadataCatalog,
    get_detection_dataset_dicts,
)
from detectron2.data.detection_utils import build_augmentation

from ..data import register_coco_json


def register_datasets(cfg: DictConfig) -> None:
    """Registers the JSON files of ``cfg.dataset`` and fills in what follows from them.

    These are the names of the data sets, ``dataset.class_names`` and ``model.num_classes``.

    Raises:
        ValueError: if a JSON file comes without its images or the other way round, if only
            training data is given, or if the two files differ in their categories.
    """
    if "dataset" not in cfg:  # a config of somebody else's, with data sets by name
        return
    dataset = cfg.dataset
    metadata = {}
    for split in ("train", "test"):
        json_file, images = dataset[f"{split}_json"], dataset[f"{split}_images"]
        if bool(json_file) != bool(images):
            raise ValueError(f"dataset.{split}_json and dataset.{split}_images go together")
        if json_file:
            metadata[split] = register_coco_json(json_file, images)
            dataset[split] = json_file
    if list(metadata) == ["train"]:
        raise ValueError("dataset.test_json and dataset.test_images are missing")
    if len(metadata) == 2:
        train, test = (_categories(metadata[split]) for split in ("train", "test"))
        if train != test:
            different = dict(train.items() ^ test.items())
            raise ValueError(
                f"{dataset.train_json} and {dataset.test_json} differ in their categories: "
                + ", ".join(f"{id_} ({name})" for id_, name in different.items())
            )
    if metadata:
        names = metadata["test"].thing_classes
        cfg.model.num_classes = len(names)
        dataset.class_names = list(names)


def _categories(metadata: Metadata) -> dict[int, str]:
    ids = metadata.thing_dataset_id_to_contiguous_id
    return dict(zip(ids, metadata.thing_classes, strict=True))


def class_names(cfg: CfgNode | DictConfig) -> list[str]:
    """Names of the classes that the config's model detects; numbers if they are not known."""
    if isinstance(cfg, CfgNode):
        dataset, num_classes = cfg.DATASETS.TEST, cfg.MODEL.TOOD.NUM_CLASSES
    else:
        if names := OmegaConf.select(cfg, "dataset.class_names"):
            return list(names)
        dataset, num_classes = cfg.dataloader.test.dataset.names, cfg.model.num_classes
        dataset = [dataset] if isinstance(dataset, str) else dataset
    names = MetadataCatalog.get(dataset[0]).get("thing_classes") if dataset else None
    return names or [str(i) for i in range(num_classes)]


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

"""A run: a config of either kind, as training, evaluation and prediction see it."""

import copy
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any, ClassVar

from omegaconf import DictConfig
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

import detectron2.data.transforms as T
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, DatasetMapper, Metadata, MetadataCatalog
from detectron2.evaluation import DatasetEvaluator
from detectron2.modeling import DatasetMapperTTA

from ..data.coco.dataset import load_coco
from .options import Options, keys_of

_OF_A_MACHINE = (
    "source",
    "train_json",
    "train_images",
    "test_json",
    "test_images",
    "output_dir",
    "remote_dir",
    "init_checkpoint",
    "wandb_project",
    "mlflow_experiment",
)
"""Options that say nothing of the model, but of the place where it was trained."""


@dataclass(frozen=True)
class Run(ABC):
    """What a config says. Nothing outside of ``tood_d2.config`` knows which kind it is.

    A run never changes: the methods that set something return another run.

    Attributes:
        cfg: the config itself.
        overridden: keys that the user gave on the command line, with the values that they had.
    """

    _KIND: ClassVar[int]  # position of its keys
    cfg: CfgNode | DictConfig
    overridden: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def options(self) -> Options:
        """The options, checked.

        Raises:
            ValueError: on wrong values, with their keys.
        """
        values = {x.name: self.get(key) for x in fields(Options) if (key := self.key(x.name))}
        return Options(**{name: value for name, value in values.items() if value is not None})

    def with_options(self, **values: Any) -> "Run":
        """The same run with other values for options that its kind of config has."""
        cfg = copy.deepcopy(self.cfg)
        for name, value in values.items():
            if key := self.key(name):
                self._set(cfg, key, value)
        return type(self)(cfg, self.overridden)

    def without_files(self) -> "Run":
        """The same run without what it names of its machine: data, weights and folders.

        Data sets that are registered under other names than that of a JSON file stay.
        """
        run = self
        for split in ("train", "test"):
            if self.get(self.key(f"{split}_json")) in self._names(split):
                run = run.with_datasets(**{split: ""})
        defaults = vars(Options())
        given = [x for x in _OF_A_MACHINE if self.get(self.key(x)) not in (None, defaults[x])]
        return run.with_options(**{name: defaults[name] for name in given})

    def key(self, option: str) -> str | None:
        """The user's key of an option; None if this kind of config does not have it."""
        return keys_of(option)[self._KIND]

    def named_options(self) -> dict[str, Any]:
        """The options by the user's keys."""
        names = (x.name for x in fields(Options))
        return {key: getattr(self.options, x) for x in names if (key := self.key(x))}

    @abstractmethod
    def get(self, key: str) -> Any:
        """The value of a dotted key, None if there is none."""

    @staticmethod
    @abstractmethod
    def _set(cfg: CfgNode | DictConfig, key: str, value: Any) -> None:
        """Sets the value of a dotted key."""

    @abstractmethod
    def dump(self) -> str:
        """The config as YAML, to be read by people."""

    # Data

    @property
    def train_names(self) -> list[str]:
        """Names of the registered data sets that are trained on."""
        return self._names("train")

    @property
    def test_names(self) -> list[str]:
        """Names of the registered data sets that are tested on."""
        return self._names("test")

    @abstractmethod
    def _names(self, split: str) -> list[str]:
        """Names of the data sets of "train" or "test"."""

    @abstractmethod
    def with_datasets(self, **names: str) -> "Run":
        """The same run with a registered data set as "train", "test" or both, "" for none."""

    @abstractmethod
    def training_dicts(self) -> list[dict]:
        """Detectron2's dataset dicts of the images that are trained on."""

    @abstractmethod
    def test_dicts(self) -> list[dict]:
        """Detectron2's dataset dicts of the test data, with ground truth."""

    @abstractmethod
    def annotated_test_mapper(self) -> DatasetMapper:
        """The mapper of the test data, which also keeps the ground truth.

        Images and objects come in pixels of the network input.
        """

    @abstractmethod
    def build_train_loader(self):
        """Endless batches to train on."""

    @abstractmethod
    def build_test_loader(self, name: str):
        """Batches of a test data set."""

    @abstractmethod
    def build_evaluator(self, name: str) -> DatasetEvaluator:
        """The evaluator of a test data set, which writes to ``inference`` in the output folder."""

    @abstractmethod
    def with_input_scale(self, factor: float) -> "Run":
        """The same run with images larger by a factor, in training and testing.

        Sizes of the network input, as ``ResizeShortestEdge`` makes it, are rounded to pixels.
        """

    # Model

    @abstractmethod
    def build_model(self) -> nn.Module:
        """The model with random weights, on its device."""

    @abstractmethod
    def build_optimizer(self, model: nn.Module) -> Optimizer:
        """The optimiser, with gradient clipping if that is wanted."""

    @abstractmethod
    def build_lr_scheduler(self, optimizer: Optimizer) -> LRScheduler:
        """What changes the learning rate after each step."""

    # Prediction

    @abstractmethod
    def test_augmentations(self) -> Sequence[T.Augmentation]:
        """From an image to the model's input, in testing."""

    @abstractmethod
    def tta_mapper(self) -> DatasetMapperTTA:
        """Makes the versions of an image for test-time augmentation.

        Raises:
            ValueError: if the config has none.
        """

    # Classes

    @property
    def known_class_names(self) -> list[str]:
        """Names of the classes that the model detects, empty if they are not known."""
        if self.options.class_names:
            return list(self.options.class_names)
        return next(filter(None, (x.get("thing_classes") for x in self._metadata())), [])

    @property
    def class_names(self) -> list[str]:
        """Names of the classes that the model detects; numbers if they are not known."""
        return self.known_class_names or [str(i) for i in range(self.options.num_classes)]

    @property
    def category_ids(self) -> list[int]:
        """Ids of the classes in the data set, as COCO's results name them.

        They are read from the test data, if these are there, or known for registered data sets, or
        those that the config tells; else they count from 1.
        """
        names = self.class_names
        try:
            dataset = load_coco(self.options.test_json)
            if dataset.class_names == names:
                return dataset.category_ids
        except (OSError, ValueError):  # other or no data are no error here
            pass
        for metadata in self._metadata():
            contiguous = metadata.get("thing_dataset_id_to_contiguous_id")
            if contiguous and metadata.get("thing_classes") == names:
                return sorted(contiguous, key=contiguous.get)
        ids = list(self.options.category_ids)
        return ids if len(ids) == len(names) else list(range(1, len(names) + 1))

    def _metadata(self) -> list[Metadata]:
        """That of the registered data sets, the test data first."""
        names = (*self.test_names, *self.train_names)
        return [MetadataCatalog.get(x) for x in names if x in DatasetCatalog]


def scaled(sizes: int | Sequence[int], factor: float) -> int | tuple[int, ...]:
    """A size in pixels, or several, times a factor; 0, which stands for the original, stays."""
    if isinstance(sizes, Sequence):
        return tuple(round(x * factor) for x in sizes)
    return round(sizes * factor)

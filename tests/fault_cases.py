"""Data and command lines of the faults."""

import functools
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
from script_runs import ROOT, Command

from tood_d2.config import load_run
from tood_d2.data import register_coco_json

SMALL = str(ROOT / "configs" / "tood_R_18_FPN_small.py")
YAML = str(ROOT / "configs" / "tood_R_50_FPN_1x.yaml")
HACKED = "hacked"  # file that code in hostile files would make


class Case:
    """A folder with data of its own, to be spoilt, and commands that use them."""

    def __init__(self, folder: Path, shapes: Path):
        """
        Args:
            folder: for a copy of the data, not there yet.
            shapes: what ``make_shapes`` made.
        """
        shutil.copytree(shapes, folder)
        self.folder = folder
        self.image = folder / "train" / "000001.png"
        self.output = folder / "out"
        self.json = folder / "train.json"

    def data(self) -> list[str]:
        names = {"train_json": "train.json", "train_images": "train"}
        names |= {"test_json": "val.json", "test_images": "val"}
        return [f"dataset.{key}={self.folder / name}" for key, name in names.items()]

    def train(self, *options: str, flags=(), config: str = SMALL, **kwargs) -> Command:
        """Training of one iteration."""
        tiny = [
            *self.data(),
            "model.head.num_convs=2",
            "dataloader.train.total_batch_size=2",
            "dataloader.train.num_workers=0",
            "dataloader.train.mapper.augmentations.0.short_edge_length=[96]",
            "dataloader.test.mapper.augmentations.0.short_edge_length=96",
            "train.device=cpu",
            "train.seed=0",
            "train.max_iter=1",
            f"train.output_dir={self.output}",
        ]
        argv = ["train_net.py", *flags, "--config-file", config, *tiny, *options]
        return Command(argv, **kwargs)

    def plain(self, *arguments: str, **kwargs) -> Command:
        """train_net.py without any options."""
        return Command(["train_net.py", *arguments], **kwargs)

    def train_yaml(self, *options: str, config: str = YAML) -> Command:
        options = ("OUTPUT_DIR", str(self.output), "SOLVER.MAX_ITER", "1", *options)
        return self.plain("--config-file", config, *options)

    def evaluate(self, weights: str, **kwargs) -> Command:
        return self.train(f"train.init_checkpoint={weights}", flags=["--eval-only"], **kwargs)

    def train_on_image(self, spoil: Callable[[Path], object]) -> Command:
        """Training in which each image has to be read, once the first one is spoilt."""
        spoil(self.image)
        options = ("dataloader.train.max_unreadable=0", "dataloader.train.total_batch_size=8")
        return self.train(*options)

    def train_on_json(self, change: Callable[[dict], object]) -> Command:
        """Training with the training data's JSON changed."""
        content = json.loads(self.json.read_text())
        change(content)
        self.json.write_text(json.dumps(content))
        return self.train()

    def file(self, name: str, content: str | bytes) -> str:
        path = self.folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return str(path)

    def registered(self, num_classes: int) -> Command:
        """Training on data sets by name."""
        files = [str(self.json), str(self.folder / "val.json")]
        for file, images in zip(files, ("train", "val"), strict=True):
            register_coco_json(file, str(self.folder / images))
        none = [f"dataset.{split}_{x}=" for split in ("train", "test") for x in ("json", "images")]
        names = [f"dataset.train={files[0]}", f"dataset.test={files[1]}"]
        return self.train(*none, *names, f"model.num_classes={num_classes}")

    def demo(self, *arguments: str) -> Command:
        """demo.py with weights, for these arguments and the images of the validation data."""
        config = ["--config-file", SMALL, "--output", str(self.output)]
        opts = ["train.device=cpu", "model.num_classes=4", "model.head.num_convs=2"]
        opts += [f"train.init_checkpoint={small_weights()}"]
        images = [] if "--input" in arguments else ["--input", str(self.folder / "val")]
        return Command(["demo/demo.py", *config, *images, *arguments, "--opts", *opts])

    def tool(self, name: str, *arguments: object) -> Command:
        folder = "dev" if (ROOT / "dev" / f"{name}.py").is_file() else "tools"
        return Command([f"{folder}/{name}.py", *map(str, arguments)])


@functools.cache
def _scratch() -> tempfile.TemporaryDirectory:
    """A folder that is removed when the program ends."""
    return tempfile.TemporaryDirectory(prefix="faults-")


@functools.cache
def small_weights() -> str:
    """A file of weights for the small model with four classes."""
    path = os.path.join(_scratch().name, "model.pth")
    options = ["model.num_classes=4", "train.device=cpu", "model.head.num_convs=2"]
    torch.save({"model": load_run(SMALL, options).build_model().state_dict()}, path)
    return path

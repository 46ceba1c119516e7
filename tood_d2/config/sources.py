"""Data sets as labelling tools export them, made ready for a run."""

import logging
import os
from pathlib import Path

from ..cli.outputs import write_json
from ..data.coco.reading import read_sound_coco
from ..data.coco.splitting import split_images
from ..data.conversion.recognition import convert_any
from ..data.sharing import once_per_machine
from .run import Run

_TRAIN = ("train", "training", "trainval")
_TEST = ("val", "valid", "validation", "dev", "test", "testing")
_OPTIONS = ("train_json", "train_images", "test_json", "test_images")
FRACTIONS = (0.8, 0.2)  # of the images to train on and to test with, if there is one split

logger = logging.getLogger(__name__)


def with_source(run: Run) -> Run:
    """Fills in the JSON files and folders that a run's ``source`` stands for.

    Converted annotations are written to the folder ``annotations`` of the output folder.

    Raises:
        FileNotFoundError, ValueError: see :func:`.convert_any`.
        ValueError: if files are given, too, or the splits are none to train on and test with.
    """
    options = run.options
    if not options.source:
        return run
    if given := [run.key(name) for name in _OPTIONS if getattr(options, name)]:
        raise ValueError(f"{run.key('source')} goes without {', '.join(given)}")
    folder = os.path.join(options.output_dir, "annotations")
    files = once_per_machine(lambda: _find_files(options.source, folder))
    return run.with_options(source="", **dict(zip(_OPTIONS, files, strict=True)))


def _find_files(source: str, folder: str) -> tuple[str, str, str, str]:
    """Values of ``_OPTIONS``."""
    form, splits = convert_any(source)
    by_name = {name.lower(): split for name, split in splits.items()}
    train = next((x for x in _TRAIN if x in by_name), None)
    test = next((x for x in _TEST if x in by_name), None)
    if len(splits) == 1:
        ((name, (annotations, images)),) = splits.items()
        if not isinstance(annotations, dict):
            annotations = read_sound_coco(annotations)
        parts = split_images(annotations, FRACTIONS)
        train, test = _TRAIN[0], _TEST[0]
        by_name = {train: (parts[0], images), test: (parts[1], images)}
        numbers = " and ".join(str(len(x["images"])) for x in parts)
        logger.warning(
            f"{source} has one split, {name!r}: of its images, dealt out at random, {numbers} are "
            "to train on and to test with"
        )
    elif train is None or test is None:
        raise ValueError(
            f"{source}: its splits {', '.join(splits)} are none to train on and to test with, such "
            f"as {_TRAIN[0]} and {_TEST[0]}"
        )
    files: list[str] = []
    for name in (train, test):
        annotations, images = by_name[name]
        if isinstance(annotations, dict):
            content, annotations = annotations, Path(folder, f"{name}.json")
            os.makedirs(folder, exist_ok=True)
            write_json(content, str(annotations))
        files += [str(annotations), str(images)]
    logger.info(f"{source} is data in the form {form}: {files[0]} and {files[2]}")
    return tuple(files)

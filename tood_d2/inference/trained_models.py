"""Trained models in the output folders of training runs."""

import contextlib
import json
import os
from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

from ..checkpoint import read_checkpoint
from ..config import Run, load_run

CONFIG = "config.yaml"
WEIGHTS = ("model_final.pth", "model_best.pth", "model.safetensors")  # the last one is shared


class TrainedModel(NamedTuple):
    """The files of a trained model."""

    config_file: str
    weights: str

    def load_run(self, trusted: Collection[str] = ()) -> Run:
        """The run, with these weights; see :func:`tood_d2.config.load_run`."""
        return load_run(self.config_file, trusted=trusted, weights=self.weights)


def find_trained_models(folder: str | os.PathLike) -> dict[str, TrainedModel]:
    """Finds the models that training left in a folder and in the folders in it, and shared ones.

    Returns:
        The models by their names: the paths of their weights, seen from the folder. Empty if there
        are none or no such folder.
    """
    models = {}
    for config_file in sorted(Path(folder).rglob(CONFIG)):
        for path in map(config_file.with_name, WEIGHTS):
            if path.is_file():
                models[str(path.relative_to(folder))] = TrainedModel(str(config_file), str(path))
    return models


def find_trained_model(path: str | os.PathLike) -> TrainedModel:
    """The model of a training's output folder, a shared one, or that of a file of weights in one.

    Raises:
        FileNotFoundError: if there is none.
    """
    path = Path(path)
    files = [path] if path.is_file() else [path / name for name in WEIGHTS]
    for weights in files:
        config_file = weights.with_name(CONFIG)
        if weights.is_file() and config_file.is_file():
            return TrainedModel(str(config_file), str(weights))
    raise FileNotFoundError(
        f"{path}: no trained model, which is a folder with {CONFIG} and {' or '.join(WEIGHTS)}, or "
        f"a file of weights beside {CONFIG}"
    )


def read_results(model: TrainedModel, run: Run) -> dict[str, float]:
    """What training measured of a model on its test data.

    Args:
        model: in the output folder of its training.
        run: of that training.

    Returns:
        By names such as "AP", "AP50" and "AP-cat", in percent; empty if these very weights were
        not evaluated on one data set, or the folder has no ``metrics.json``.
    """
    path, last = Path(model.weights).with_name("metrics.json"), run.options.max_iter - 1
    if not path.is_file():
        return {}
    checkpoint = read_checkpoint(model.weights)
    # The averaged weights are saved without the state of training.
    is_average = run.options.ema_enabled and "trainer" not in checkpoint
    prefix = "ema/bbox/" if is_average else "bbox/"
    iteration = min(checkpoint.get("iteration", last), last)  # the last evaluation counts one more
    found = {}
    for line in path.read_text().splitlines():
        with contextlib.suppress(ValueError):  # of a program that was killed
            row = json.loads(line)
            if f"{prefix}AP" in row and min(row["iteration"], last) == iteration:
                found = {k.removeprefix(prefix): x for k, x in row.items() if k.startswith(prefix)}
    return found

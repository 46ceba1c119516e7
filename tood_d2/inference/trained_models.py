"""Trained models in the output folders of training runs."""

import os
from collections.abc import Collection
from typing import NamedTuple

from ..config import Run, load_run

CONFIG = "config.yaml"
WEIGHTS = ("model_final.pth", "model_best.pth")


class TrainedModel(NamedTuple):
    """The files of a trained model."""

    config_file: str
    weights: str

    def load_run(self, trusted: Collection[str] = ()) -> Run:
        """The run, with these weights.

        Raises:
            ValueError: see :func:`.load_run`.
        """
        return load_run(self.config_file, trusted=trusted, weights=self.weights)


def find_trained_models(folder: str | os.PathLike) -> dict[str, TrainedModel]:
    """Finds the models that training left in a folder and in the folders in it.

    Returns:
        The models by their names: the paths of their weights, seen from the folder. Empty if there
        are none or no such folder.
    """
    models = {}
    for root, folders, files in os.walk(folder):
        folders.sort()
        if CONFIG in files:
            for name in WEIGHTS:
                if name in files:
                    path = os.path.join(root, name)
                    model = TrainedModel(os.path.join(root, CONFIG), path)
                    models[os.path.relpath(path, folder)] = model
    return models

"""A machine learning backend for Label Studio, by its own package ``label_studio_ml``."""

import json
import logging
import os
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

from flask import Flask
from label_studio_ml.api import init_app
from label_studio_ml.model import LabelStudioMLBase
from label_studio_ml.utils import DATA_UNDEFINED_NAME
from label_studio_sdk import LabelStudio

from ..data.coco.image_files import find_image_files
from .fine_tuning import FineTuning
from .rectangle_labels import match_labels, mean_score, rectangle_results
from .served_model import ServedModel

logger = logging.getLogger(__name__)

FORM = "COCO_WITH_IMAGES"  # of the annotations that are fetched


class Backend(LabelStudioMLBase):
    """Answers a request of Label Studio; it makes an instance for each.

    Attributes:
        models: by the ids of the projects that they were trained for, "" for all others.
        fine_tuning: None if the model cannot be trained.
        load: the model of a training's output folder.
    """

    models: ClassVar[dict[str, ServedModel]]
    fine_tuning: ClassVar[FineTuning | None]
    load: ClassVar[Callable[[Path], ServedModel]]

    def setup(self) -> None:
        """Raises a ValueError if the model and the project have nothing in common."""
        self.model = self.models.get(self.project_id) or self.models[""]
        tags = self.get_first_tag_occurence("RectangleLabels", "Image")
        self.from_name, self.to_name, self.value = tags
        attributes = self.label_interface.get_control(self.from_name).labels_attrs
        labels = {x: y.attr.get("predicted_values", "").split(",") for x, y in attributes.items()}
        labels = ((x, tuple(filter(None, map(str.strip, y)))) for x, y in labels.items())
        self.labels = match_labels(self.model.class_names, tuple(labels))
        self.set("model_version", self.model.version)

    def predict(self, tasks: list[dict], context: dict | None = None, **kwargs) -> list:
        """A prediction for each task, an empty list for one whose image cannot be had."""
        return [self._predict(task) for task in tasks]

    def _predict(self, task: dict) -> dict | list:
        url = task["data"].get(self.value) or task["data"].get(DATA_UNDEFINED_NAME)
        try:
            if not url:
                raise ValueError(f"has no {self.value!r} in its data")
            instances = self.model.detect(self.get_local_path(url, task_id=task.get("id")))
        except Exception as error:  # of any kind, as the image may be anywhere
            logger.error(f"task {task.get('id')}: no prediction, {error}")
            return []
        results = rectangle_results(instances, self.labels, self.from_name, self.to_name)
        version = {"model_version": self.model.version}
        return {"result": results, "score": mean_score(results)} | version

    def fit(self, event: str, data: dict, **kwargs) -> dict:
        """Starts a fine-tuning when Label Studio's user asks for it, not at every annotation.

        Raises:
            ValueError: if the model cannot be trained, or it is not said where the annotations are.
        """
        if event != "START_TRAINING":
            return {"training": "not started: it starts by START_TRAINING"}
        if self.fine_tuning is None:
            raise ValueError("an exported model is not trained: name a --train-config-file")
        if not os.environ.get("LABEL_STUDIO_URL") or not os.environ.get("LABEL_STUDIO_API_KEY"):
            raise ValueError("LABEL_STUDIO_URL and LABEL_STUDIO_API_KEY have to be set to train")
        name = f"project_{self.project_id}"
        output = self.fine_tuning.start(name, self._export, self._swap_in)
        if output is None:
            return {"training": "not started: another one is under way"}
        return {"training": f"started in {output}"}

    def _export(self, folder: Path) -> None:
        """Fetches the annotated images of the project, in COCO's form."""
        url, key = os.environ["LABEL_STUDIO_URL"], os.environ["LABEL_STUDIO_API_KEY"]
        exports = LabelStudio(base_url=url, api_key=key).projects.exports
        # Without this, images that nobody has annotated would be images without objects.
        annotated = {"download_all_tasks": False, "download_resources": True}
        content = exports.download_sync(int(self.project_id), export_type=FORM, **annotated)
        archive = folder / "export.zip"
        with archive.open("wb") as file:
            file.writelines(content)
        with zipfile.ZipFile(archive) as file:
            file.extractall(folder)
        archive.unlink()
        # Those with other than ASCII's letters in their names are left out (Label Studio 1.23).
        images = json.loads((folder / "result.json").read_bytes())["images"]
        names = [x["file_name"] for x in images]
        for name, path in zip(names, find_image_files(names, folder), strict=True):
            if path is None:
                shutil.copy(self.get_local_path(name), folder / os.path.basename(name))

    def _swap_in(self, folder: Path) -> None:
        self.models[self.project_id] = self.load(folder)
        logger.info(f"project {self.project_id}: {folder} answers from now on")


def build_app(
    model: ServedModel, load: Callable[[Path], ServedModel], fine_tuning: FineTuning | None
) -> Flask:
    """The web application of a backend; see :class:`Backend`."""
    members = {"models": {"": model}, "load": staticmethod(load), "fine_tuning": fine_tuning}
    return init_app(type(Backend.__name__, (Backend,), members))

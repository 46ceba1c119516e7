"""A user's image, and the files that the user may download."""

import json
import os
from collections.abc import Sequence
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np
from PIL import Image

from ..cli.outputs import short_name
from ..inspection import ImageAnalysis
from .report import write_report
from .results import ClassColors, Result


class Files(NamedTuple):
    """Paths of what a user may download."""

    json: str
    picture: str
    report: str


class Session:
    """An image that a user has opened.

    Attributes:
        analyses: of the image, by the names of the models.
        file_name: of the image, without its folder.
        results: those that are shown.
        folder: of the files, deleted with the session.
    """

    def __init__(self, analyses: Sequence[tuple[str, ImageAnalysis]], path: str):
        self.analyses, self.file_name = analyses, os.path.basename(path)
        self.results: list[Result] = []
        self.folder = TemporaryDirectory(prefix="tood_d2_")

    @property
    def first(self) -> ImageAnalysis:
        """Of the first model."""
        return self.analyses[0][1]

    def save(self, settings: str, colors: ClassColors) -> Files:
        """Writes the results as JSON, as a picture and as HTML, in place of those before.

        Detections of two models are told apart by "model". Their pictures stand side by side.

        Args:
            settings: text for the report.
            colors: of the classes.

        Raises:
            OSError: if a file cannot be written.
        """
        stem, results = os.path.splitext(self.file_name)[0], self.results
        names = (short_name(stem, f"_detections.{x}") for x in ("json", "png", "html"))
        files = Files(*(os.path.join(self.folder.name, name) for name in names))
        detections = []
        for result in results:
            model = {"model": result.model} if len(results) > 1 else {}
            found = result.analysis.results(result.instances, self.file_name)
            detections += [x | model for x in found]
        with open(files.json, "w") as file:
            json.dump(detections, file, indent=1)
        picture = np.concatenate([x.picture for x in results], axis=1)
        Image.fromarray(picture).save(files.picture, compress_level=1)
        write_report(files.report, f"Detections in {self.file_name}", settings, results, colors)
        return files

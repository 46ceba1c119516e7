"""What the page does."""

import functools
import logging
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from tempfile import TemporaryDirectory

import gradio as gr
import numpy as np

from ..cli.messages import describe
from ..cli.outputs import short_name
from ..data.images import read_upload
from ..inspection import ImageAnalysis
from ..inspection.image_analysis import draw_scaled
from ..text import printable
from . import results
from .models import Model, choose_examples
from .results import COLUMNS, ClassColors
from .session import Session
from .video import MAX_SECONDS, draw_video, num_frames, open_video

MAX_MODELS = 2  # in memory
UPLOAD_HINT = "Choose an example or upload an image."
VIDEO_HINT = f"Upload a video and press Detect. The model looks at its first {MAX_SECONDS} seconds."
STOPPED = "Stopped. Press Detect to begin again."
CLICK_HINT = "Click into a picture to see what is predicted there."
NO_HEAD = "An exported model gives detections alone. Choose a trained one to see its head."

logger = logging.getLogger("tood_d2.page")


class App:
    """What the page does. It knows no users: each call is given the session it is about.

    Scores come from sliders in per cent, classes as their indices in the first model.
    """

    def __init__(self, models: dict[str, Callable[[], Model]]):
        """Takes functions that load models, by the names of the models."""
        self.names = list(models)
        self.colors = ClassColors()
        self._load_functions = models
        self.load = lru_cache(MAX_MODELS)(self._load)
        self._examples: dict[str, tuple[list[str], list[np.ndarray]]] = {}
        self._lock = threading.Lock()

    def _load(self, name: str) -> Model:
        model = self._load_functions[name]()
        self.colors.numbers(model.predictor.class_names)
        model.warm_up()
        return model

    def one_at_a_time(self, function: Callable) -> Callable:
        """The same function, or method, which waits until others that are called have ended."""

        @functools.wraps(function)
        def locked(*args, **kwargs):
            with self._lock:
                return function(*args, **kwargs)

        return locked

    def class_choices(self, model: str) -> list[tuple[str, int]]:
        return [(name, i) for i, name in enumerate(self.load(model).predictor.class_names)]

    def examples(self, model: str) -> tuple[list[str], list[np.ndarray]]:
        """Files to try with a model and their small pictures, see :func:`choose_examples`."""
        if model not in self._examples:
            self._examples[model] = choose_examples(self.load(model).examples)
        return self._examples[model]

    def choose_model(self, model: str):
        """Loads a model. Returns the class filter and the examples, empty ones if that fails."""
        try:
            choices, thumbnails = self.class_choices(model), self.examples(model)[1]
        except Exception:  # open_image, which comes next, says why
            choices, thumbnails = [], []
        gallery = gr.Gallery(thumbnails, selected_index=None, visible=bool(thumbnails))
        return gr.Dropdown(choices=choices, value=[], multiselect=True), gallery

    def open_example(self, model: str, event: gr.SelectData) -> str:
        """The file of an example that was clicked."""
        return self.examples(model)[0][event.index]

    def open_image(self, model: str, second: str | None, path: str | None):
        """Runs the networks. Returns a session (None if there is none), levels and a message."""
        nothing = None, gr.Radio(choices=[], value=None)
        names = [model, second] if second else [model]
        predictors = []
        for name in names:
            try:
                predictors.append(self.load(name).predictor)
            except Exception as error:  # files of models may be damaged in many ways
                message = f"{name} cannot be loaded: {describe(error)}"
                logger.warning(printable(message))
                return *nothing, f"No detections: {message}"
        if path is None:
            return *nothing, UPLOAD_HINT
        file_name = printable(os.path.basename(path))
        try:
            image = read_upload(path)
        except (OSError, ValueError) as error:
            return *nothing, printable(str(error))
        analyses = []
        for name, predictor in zip(names, predictors, strict=True):
            try:
                analyses.append((name, ImageAnalysis(predictor, image)))
            except Exception as error:  # a model may fail in many ways, on a large image at least
                logger.exception(printable(f"{name} fails on {file_name}"))
                return *nothing, f"{name} fails on {file_name}: {describe(error)}"
        session = Session(analyses, path)
        head, levels = session.first.head, gr.Radio(choices=[], value=None)
        if head is not None:
            choices = [(name, level) for level, name in enumerate(head.levels)]
            levels = gr.Radio(choices=choices, value=head.best_level)
        return session, levels, gr.skip()

    def show_detections(
        self, session: Session | None, score: float, nms: float, classes: list[int]
    ):
        """Returns two pictures, two tables, three files and a message."""
        second = gr.Image(None, visible=False)
        nothing = None, second, [], [], *[gr.DownloadButton(value=None, interactive=False)] * 3
        if session is None:
            return *nothing, gr.skip()
        wanted = [session.first.predictor.class_names[i] for i in classes]
        found = session.results = [
            results.find(model, analysis, self.colors, score / 100, nms, wanted)
            for model, analysis in session.analyses
        ]
        settings = f"Score at least {score:g}%, IoU of NMS {nms:g}, classes: "
        try:
            files = session.save(settings + (", ".join(wanted) or "all") + ".", self.colors)
        except OSError as error:
            name = printable(session.file_name)
            logger.exception(f"{name}: no detections are saved")
            return *nothing, f"{name}: the server fails: {describe(error)}"
        is_pair = len(found) > 1
        labels = [f"{letter}: {x.model}" for letter, x in zip("AB", found, strict=False)]
        pictures = [
            gr.Image(x.picture, label=label, visible=True)
            for label, x in zip(labels if is_pair else ["Detections"], found, strict=True)
        ]
        return (
            *(pictures if is_pair else [*pictures, second]),
            self.table(["class", *("AB" if is_pair else ["number"])], results.count_classes(found)),
            self.table([*COLUMNS, *["by"] * is_pair], results.all_rows(found)),
            *(gr.DownloadButton(value=x, interactive=True) for x in files),
            results.summarize(found, session.file_name),
        )

    def table(self, headers: Sequence[str], rows: list[list]) -> dict:
        """A table whose rows begin with the name of a class, which gets its colour."""
        styles = [
            [f"border-left: 0.75rem solid {self.colors.css(row[0])}", *[""] * (len(row) - 1)]
            for row in rows
        ]
        return {"headers": [*headers], "data": rows, "metadata": {"styling": styles}}

    def show_row(self, session: Session | None, event: gr.SelectData):
        """Draws only the detection whose row was clicked. Returns two pictures and a message."""
        if session is None:
            return [gr.skip()] * 3
        rows = [[*map(str, row)] for row in results.all_rows(session.results)]
        number = rows.index([*map(str, event.row_value)])  # the browser may have sorted them
        pictures = [gr.skip()] * 2
        for i, x in enumerate(session.results):
            if 0 <= number < len(x.instances):
                colors = self.colors.numbers(x.analysis.predictor.class_names)
                pictures[i] = x.analysis.draw(x.instances[[number]], colors).get_image()
            else:
                pictures[i] = x.picture
            number -= len(x.instances)
        name, score, *_ = event.row_value
        return *pictures, f"One {name} of {score}% alone. Move a slider to see all again."

    def mark(self, session: Session | None, event: gr.SelectData):
        """Remembers where a picture of the head was clicked."""
        if session is not None and session.first.head is not None:
            session.first.head.mark(*event.index)
        return session

    def show_head(
        self, session: Session | None, classes: list[int], level: int | None, visible: bool
    ):
        """Returns pictures of location, scores and alignment, and a description."""
        if session is None:
            return None, None, None, CLICK_HINT
        if not visible:
            return [gr.skip()] * 4
        head = session.first.head
        if head is None:
            return None, None, None, NO_HEAD
        head.look_inside()
        return *head.pictures(level, classes), head.describe(level, classes) or CLICK_HINT

    def show_video(
        self,
        model: str,
        path: str | None,
        score: float,
        nms: float,
        classes: list[int],
        progress: Callable = gr.Progress(),  # noqa: B008
    ) -> Iterator[tuple]:
        """Draws detections on a video, one frame at a time, so that other users need not wait.

        Gives the folder of the video, which is deleted with it, the video, a table of the most
        objects in a frame, and a message.
        """
        nothing = None, None, []
        if path is None:
            yield *nothing, VIDEO_HINT
            return
        name = printable(os.path.basename(path))
        try:
            video = open_video(path)
            predictor = self.one_at_a_time(self.load)(model).predictor
        except Exception as error:  # files of models may be damaged in many ways
            yield *nothing, f"No detections: {describe(error)}"
            return
        names = predictor.class_names
        numbers = self.colors.numbers(names)

        @self.one_at_a_time
        def draw(frame: np.ndarray) -> tuple[np.ndarray, Counter]:
            found = predictor.select(predictor.predict(frame), score / 100, nms, classes)
            picture = draw_scaled(frame, found, names, numbers).get_image()
            return picture, Counter(names[cls] for cls in found.pred_classes)

        folder = TemporaryDirectory(prefix="tood_d2_")
        stem = os.path.splitext(os.path.basename(path))[0]
        output = os.path.join(folder.name, short_name(stem, "_detections.webm"))
        start, most, number = time.perf_counter(), Counter(), 0
        try:
            for counts in draw_video(video, draw, output):
                most, number = most | counts, number + 1
                progress((number, num_frames(video)), unit="frames")
                yield [gr.skip()] * 4
        except Exception as error:  # a model may fail in many ways
            logger.exception(printable(f"{model} fails on {name}"))
            yield *nothing, f"No detections in {name}: {describe(error)}"
            return
        seconds = time.perf_counter() - start
        rows = [[key, value] for key, value in most.items()]
        message = f"{number} frames of {name}: {number / seconds:.1f} a second."
        if number < len(video):
            message += f" These are its first {MAX_SECONDS} seconds."
        if not rows:
            message += " Nothing found. Lower the score to see more."
        yield folder, output, self.table(["class", "most in a frame"], rows), message

"""The page of app.py: what it does, and its layout."""

import json
import logging
import os
from collections.abc import Callable
from functools import lru_cache
from tempfile import TemporaryDirectory

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")  # read when Gradio is imported

import gradio as gr

from tood_d2.cli.messages import describe
from tood_d2.cli.outputs import short_name
from tood_d2.data.images import read_upload
from tood_d2.inspection import ImageAnalysis
from tood_d2.text import printable

SCORE_THRESH = 0.3
MAX_MODELS = 2  # in memory
HOUR = 3600  # seconds after which the files of a user are deleted
COLUMNS = {
    "headers": ["class", "score", "x1", "y1", "x2", "y2"],
    "datatype": ["str"] * 2 + ["number"] * 4,
}
HEAD_PICTURES = {
    "location": "Location",
    "scores": "Score, 0 to 1",
    "alignment": "Alignment M, 0 to 1",
}
UPLOAD_HINT = "Upload an image."
CLICK_HINT = "Click into a picture to see what is predicted there."
NO_HEAD = "An exported model gives detections alone. Choose a trained one to see its head."

logger = logging.getLogger("tood_d2.page")


class Session:
    """An image that a user has uploaded, and the files that the user may download."""

    def __init__(self, analysis: ImageAnalysis, path: str):
        self.analysis, self.file_name = analysis, os.path.basename(path)
        self.folder = TemporaryDirectory(prefix="tood_d2_")  # deleted with the session

    def save(self, instances) -> tuple[str, str]:
        """Writes the detections as JSON and as a picture, in place of the ones before."""
        stem = os.path.splitext(self.file_name)[0]
        names = short_name(stem, "_detections.json"), short_name(stem, "_detections.png")
        json_file, picture = (os.path.join(self.folder.name, name) for name in names)
        with open(json_file, "w") as f:
            json.dump(self.analysis.results(instances, self.file_name), f, indent=1)
        self.analysis.draw(instances).save(picture)
        return json_file, picture


class App:
    """What the page does. It knows no users: each call is given the session it is about.

    Texts go to text boxes, which show names of files and classes as they are, HTML included.
    """

    def __init__(self, models: dict[str, Callable]):
        """Takes functions that give the predictor of an :class:`ImageAnalysis`, by names."""
        self.names = list(models)
        self.predictor = lru_cache(MAX_MODELS)(lambda name: models[name]())

    def class_choices(self, model: str) -> list[tuple[str, int]]:
        return [(name, i) for i, name in enumerate(self.predictor(model).class_names)]

    def choose_model(self, model: str):
        """Loads a model. Returns the class filter, an empty one if that fails."""
        try:
            choices = self.class_choices(model)
        except Exception:  # open_image, which comes next, says why
            choices = []
        return gr.Dropdown(choices=choices, value=[], multiselect=True)

    def open_image(self, model: str, path: str | None):
        """Runs the network. Returns a session (None if there is none), levels and a message."""
        nothing = None, gr.Radio(choices=[], value=None)
        try:
            predictor = self.predictor(model)
        except Exception as error:  # files of models may be damaged in many ways
            message = f"{model} cannot be loaded: {describe(error)}"
            logger.warning(message)
            return *nothing, f"No model is loaded. {message}"
        if path is None:
            return *nothing, UPLOAD_HINT
        name = printable(os.path.basename(path))
        try:
            image = read_upload(path)
        except (OSError, ValueError) as error:
            return *nothing, printable(str(error))
        try:
            analysis = ImageAnalysis(predictor, image)
        except Exception as error:  # a model may fail in many ways, on a large image at least
            logger.exception(f"{model} fails on {name}")
            return *nothing, f"{model} fails on {name}: {describe(error)}"
        head, levels = analysis.head, gr.Radio(choices=[], value=None)
        if head is not None:
            choices = [(name, level) for level, name in enumerate(head.levels)]
            levels = gr.Radio(choices=choices, value=head.best_level)
        return Session(analysis, path), levels, gr.skip()

    def show_detections(
        self, session: Session | None, score: float, nms: float, classes: list[int]
    ):
        """Returns the picture, the table, the JSON file, the picture's file and a message."""
        nothing = gr.DownloadButton(value=None, interactive=False)
        if session is None:
            return None, [], nothing, nothing, gr.skip()
        name = printable(session.file_name)
        instances = session.analysis.detections(score, nms, classes)
        try:
            json_file, picture = session.save(instances)
        except OSError as error:
            logger.exception(f"{name}: no detections are saved")
            return None, [], nothing, nothing, f"{name}: the server fails: {describe(error)}"
        names = session.analysis.predictor.class_names
        boxes = instances.pred_boxes.tensor.tolist()
        rows = [
            [names[cls], f"{score:.2f}", *map(round, box)]
            for cls, score, box in zip(instances.pred_classes, instances.scores, boxes, strict=True)
        ]
        files = [gr.DownloadButton(value=x, interactive=True) for x in (json_file, picture)]
        message = f"Detections in {name}: {len(rows)}."
        if not rows:
            message = f"Nothing found in {name}. Lower the score to see more."
        return picture, rows, *files, message

    def mark(self, session: Session | None, event: gr.SelectData):
        """Remembers where a picture of the head was clicked."""
        if session is not None and session.analysis.head is not None:
            session.analysis.head.mark(*event.index)
        return session

    def show_head(
        self, session: Session | None, classes: list[int], level: int | None, visible: bool
    ):
        """Returns pictures of location, scores and alignment, and a description."""
        if session is None:
            return None, None, None, CLICK_HINT
        if not visible:
            return [gr.skip()] * 4
        head = session.analysis.head
        if head is None:
            return None, None, None, NO_HEAD
        head.look_inside()
        return *head.pictures(level, classes), head.describe(level, classes) or CLICK_HINT


def text_box(value: str, elem_id: str) -> gr.Textbox:
    """Shows a text as it is, where gr.Markdown would follow what is in it."""
    return gr.Textbox(
        value, show_label=False, container=False, max_lines=5, interactive=False, elem_id=elem_id
    )


def build_page(app: App) -> gr.Blocks:
    """Lays out the page. Whoever asks it for what, it does one thing at a time."""
    first = app.names[0]
    nms_thresh = app.predictor(first).model.test_nms_thresh
    page = gr.Blocks(title="tood_d2", analytics_enabled=False, delete_cache=(HOUR, HOUR))
    with page:
        session = gr.State(time_to_live=HOUR)
        path = gr.State()  # of the uploaded image
        head_visible = gr.State(False)
        gr.Markdown("# Try object detectors on your images")
        with gr.Row():
            with gr.Column(scale=1, min_width=280):
                name = gr.Dropdown(app.names, value=first, label="Model", elem_id="model")
                upload = gr.File(label="Image", file_types=["image"], height=140, elem_id="upload")
                score = gr.Slider(0, 1, SCORE_THRESH, step=0.01, label="Score", elem_id="score")
                nms = gr.Slider(0, 1, nms_thresh, step=0.01, label="NMS: IoU", elem_id="nms")
                choices, label = app.class_choices(first), "Classes (all, if none is chosen)"
                classes = gr.Dropdown(
                    choices, value=[], multiselect=True, elem_id="classes", label=label
                )
                files = [
                    gr.DownloadButton(label, interactive=False, size="md")
                    for label in ("Download detections as JSON", "Download picture")
                ]
            with gr.Column(scale=3):
                message = text_box(UPLOAD_HINT, "message")
                with gr.Tab("Detections") as detections_tab:
                    picture = gr.Image(
                        label="Detections", buttons=["fullscreen"], height=480, elem_id="picture"
                    )
                    table = gr.Dataframe(
                        **COLUMNS, show_label=False, elem_id="table", interactive=False
                    )
                with gr.Tab("Inside the head") as head_tab:
                    level = gr.Radio([], label="Level", elem_id="level")
                    with gr.Row():
                        head_pictures = [
                            gr.Image(label=label, interactive=False, buttons=[], elem_id=id_)
                            for id_, label in HEAD_PICTURES.items()
                        ]
                    text = text_box(CLICK_HINT, "text")

        queued = {"concurrency_limit": 1, "concurrency_id": "all", "api_visibility": "private"}

        def show_detections(listen, **kwargs):
            inputs, outputs = [session, score, nms, classes], [picture, table, *files, message]
            return listen(app.show_detections, inputs, outputs, **queued, **kwargs)

        def show_head(listen):
            inputs = [session, classes, level, head_visible]
            listen(app.show_head, inputs, [*head_pictures, text], **queued)

        def open_image(listen):
            opened = listen(app.open_image, [name, path], [session, level, message], **queued)
            show_head(show_detections(opened.then).then)

        # The upload is emptied at once, to be ready for the next image.
        open_image(upload.upload(lambda x: (x, None), upload, [path, upload], **queued).then)
        open_image(name.input(app.choose_model, name, classes, **queued).then)
        for slider in (score, nms):
            show_detections(slider.change, trigger_mode="always_last", show_progress="hidden")
        show_head(show_detections(classes.input, trigger_mode="always_last").then)
        show_head(level.input)
        for image in head_pictures:
            show_head(image.select(app.mark, session, session, **queued).then)
        detections_tab.select(lambda: False, None, head_visible, **queued)
        show_head(head_tab.select(lambda: True, None, head_visible, **queued).then)
    return page

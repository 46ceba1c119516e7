#!/usr/bin/env python
"""A page in the browser to try trained models on.

app.py
app.py --config-file configs/tood_R_50_FPN_1x.py --opts train.init_checkpoint=model.pth

Without --config-file it offers the models that training left in a folder, the one of `make demo`
first.
"""

import argparse
import json
import os
import sys
from collections.abc import Callable
from functools import lru_cache
from tempfile import TemporaryDirectory

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")  # read when Gradio is imported

from omegaconf.errors import OmegaConfBaseException

from detectron2.utils.logger import setup_logger
from tood_d2.cli.arguments import add_overrides
from tood_d2.config import load_config
from tood_d2.data.images import read_upload
from tood_d2.inference import DensePredictor, find_trained_models
from tood_d2.inspection import ImageAnalysis

try:
    import gradio as gr
except ImportError:
    print("app.py: gradio is missing: make app, or pip install -e '.[app]'", file=sys.stderr)
    sys.exit(2)

FIRST_MODEL = os.path.join("demo", "model_final.pth")
SCORE_THRESH = 0.3
MAX_MODELS = 2  # in memory
HOUR = 3600  # after which the files of a user are deleted
COLUMNS = ["class", "score", "x1", "y1", "x2", "y2"]
HINT = "Click into a picture to see what is predicted there."
LOADING_ERRORS = (KeyError, OSError, OmegaConfBaseException, TypeError, ValueError)


class Session:
    """An image that a user has uploaded, and the files that the user may download."""

    def __init__(self, analysis: ImageAnalysis, path: str):
        self.analysis = analysis
        self.file_name = os.path.basename(path)
        self.folder = TemporaryDirectory(prefix="tood_d2_")  # deleted with the session

    def save(self, instances) -> tuple[str, str]:
        """Writes the detections as JSON and as a picture, in place of the ones before."""
        stem = os.path.join(self.folder.name, os.path.splitext(self.file_name)[0])
        json_file, picture = f"{stem}_detections.json", f"{stem}_detections.png"
        with open(json_file, "w") as f:
            json.dump(self.analysis.results(instances, self.file_name), f, indent=1)
        self.analysis.draw(instances).save(picture)
        return json_file, picture


class App:
    """What the page does. It knows no users: each call is given the session it is about."""

    def __init__(self, configs: dict[str, Callable]):
        """
        Args:
            configs: functions that read a model's config, by the names of the models.
        """
        self.names = list(configs)
        self.predictor = lru_cache(MAX_MODELS)(lambda name: DensePredictor(configs[name]()))

    def class_choices(self, model: str) -> list[tuple[str, int]]:
        return [(name, i) for i, name in enumerate(self.predictor(model).class_names)]

    def choose_model(self, model: str):
        """Loads a model. Returns the class filter."""
        try:
            return gr.Dropdown(choices=self.class_choices(model), value=[], multiselect=True)
        except LOADING_ERRORS as error:
            raise gr.Error(f"{model} cannot be loaded: {error}", print_exception=False) from error

    def open_image(self, model: str, path: str | None):
        """Runs the network. Returns a session, None without an image, and the levels."""
        nothing = None, gr.Radio(choices=[], value=None)
        if path is None:
            return nothing
        try:
            image = read_upload(path)
        except ValueError as error:
            gr.Warning(str(error))
            return nothing
        analysis = ImageAnalysis(self.predictor(model), image)
        choices = [(name, level) for level, name in enumerate(analysis.levels)]
        return Session(analysis, path), gr.Radio(choices=choices, value=analysis.best_level)

    def show_detections(
        self, session: Session | None, score: float, nms: float, classes: list[int]
    ):
        """Returns the picture, the table, the JSON file and the picture's file."""
        if session is None:
            nothing = gr.DownloadButton(value=None, interactive=False)
            return None, [], nothing, nothing
        instances = session.analysis.detections(score, nms, classes)
        json_file, picture = session.save(instances)
        names = session.analysis.predictor.class_names
        rows = [
            [names[cls], round(score, 3), *(round(x, 1) for x in box)]
            for cls, score, box in zip(
                instances.pred_classes.tolist(),
                instances.scores.tolist(),
                instances.pred_boxes.tensor.tolist(),
                strict=True,
            )
        ]
        files = [gr.DownloadButton(value=x, interactive=True) for x in (json_file, picture)]
        return picture, rows, *files

    def mark(self, session: Session | None, event: gr.SelectData):
        """Remembers where a picture of the head was clicked."""
        if session is not None:
            session.analysis.mark(*event.index)
        return session

    def show_head(
        self, session: Session | None, classes: list[int], level: int | None, visible: bool
    ):
        """Returns pictures of location, scores and alignment, and a description."""
        if session is None:
            return None, None, None, HINT
        if not visible:
            return [gr.skip()] * 4
        session.analysis.look_inside()
        pictures = session.analysis.head_pictures(level, classes)
        return *pictures, session.analysis.describe(level, classes) or HINT


def build_page(app: App) -> gr.Blocks:
    """Lays out the page. Whoever asks it for what, it does one thing at a time."""
    first = app.names[0]
    page = gr.Blocks(title="tood_d2", analytics_enabled=False, delete_cache=(HOUR, HOUR))
    with page:
        session = gr.State(time_to_live=HOUR)
        head_visible = gr.State(False)
        with gr.Row():
            with gr.Column(scale=1, min_width=280):
                name = gr.Dropdown(app.names, value=first, label="Model", elem_id="model")
                upload = gr.File(label="Image", file_types=["image"], height=140, elem_id="upload")
                score = gr.Slider(0, 1, SCORE_THRESH, step=0.01, label="Score", elem_id="score")
                nms_thresh = app.predictor(first).model.test_nms_thresh
                nms = gr.Slider(0, 1, nms_thresh, step=0.01, label="NMS: IoU", elem_id="nms")
                classes = gr.Dropdown(
                    app.class_choices(first),
                    value=[],
                    multiselect=True,
                    label="Classes (all, if none is chosen)",
                    elem_id="classes",
                )
                json_file = gr.DownloadButton("Detections as JSON", interactive=False, size="md")
                picture_file = gr.DownloadButton("Picture", interactive=False, size="md")
            with gr.Column(scale=3), gr.Tabs():
                with gr.Tab("Detections") as detections_tab:
                    picture = gr.Image(
                        label="Detections", buttons=["fullscreen"], height=480, elem_id="picture"
                    )
                    table = gr.Dataframe(
                        headers=COLUMNS, interactive=False, show_label=False, elem_id="table"
                    )
                with gr.Tab("Inside the head") as head_tab:
                    level = gr.Radio([], label="Level", elem_id="level")
                    with gr.Row():
                        head_pictures = [
                            gr.Image(label=label, interactive=False, buttons=[], elem_id=id_)
                            for label, id_ in (
                                ("Location", "location"),
                                ("Score, 0 to 1", "scores"),
                                ("Alignment M, 0 to 1", "alignment"),
                            )
                        ]
                    text = gr.Markdown(HINT, elem_id="text")

        queued = {"concurrency_limit": 1, "concurrency_id": "all", "api_visibility": "private"}

        def show_detections(listen, **kwargs):
            inputs, outputs = [session, score, nms, classes], [picture, table]
            outputs += [json_file, picture_file]
            return listen(app.show_detections, inputs, outputs, **queued, **kwargs)

        def show_head(listen):
            inputs, outputs = [session, classes, level, head_visible], [*head_pictures, text]
            return listen(app.show_head, inputs, outputs, **queued)

        def open_image(listen):
            opened = listen(app.open_image, [name, upload], [session, level], **queued)
            show_head(show_detections(opened.then).then)

        open_image(upload.change)
        open_image(name.input(app.choose_model, name, classes, **queued).success)
        for slider in (score, nms):
            show_detections(slider.change, trigger_mode="always_last", show_progress="hidden")
        show_head(show_detections(classes.input, trigger_mode="always_last").then)
        show_head(level.input)
        for image in head_pictures:
            show_head(image.select(app.mark, session, session, **queued).then)
        detections_tab.select(lambda: False, None, head_visible, **queued)
        show_head(head_tab.select(lambda: True, None, head_visible, **queued).then)
    return page


def find_configs(args: argparse.Namespace) -> dict[str, Callable]:
    """The models to offer, see :class:`App`, the first one first.

    Raises:
        FileNotFoundError: if there are none.
    """
    if args.config_file is not None:
        return {args.config_file: lambda: load_config(args.config_file, args.opts)}
    models = find_trained_models(args.models)
    if not models:
        raise FileNotFoundError(
            f"{args.models}: no trained model in it, which is a folder with config.yaml and "
            "model_final.pth. Train one by 'make demo', or name one with --models FOLDER or with "
            "--config-file and --opts"
        )
    names = sorted(models, key=lambda name: name != FIRST_MODEL)
    return {name: models[name].load_config for name in names}


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--models", default="output", help="folder to look for models in (default: output)"
    )
    parser.add_argument("--config-file", help="config of the only model, .py or .yaml")
    parser.add_argument(
        "--host", default="127.0.0.1", help="address to serve; 0.0.0.0 lets other machines in"
    )
    parser.add_argument("--port", type=int, default=7860)
    add_overrides(parser)
    args = parser.parse_args()
    if args.opts and args.config_file is None:
        parser.error("--opts needs --config-file")
    for name in ("fvcore", "tood_d2"):
        setup_logger(name=name)
    try:
        page = build_page(App(find_configs(args)))
        page.queue(api_open=False).launch(
            server_name=args.host,
            server_port=args.port,
            prevent_thread_lock=True,
            share=False,
            ssr_mode=False,
            quiet=True,
            footer_links=[],
            run_history=False,
            enable_monitoring=False,
            max_file_size="100mb",
        )
    except LOADING_ERRORS as error:  # the port may be taken, too
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 2
    print(f"Open {page.local_url} in a browser. Ctrl+C ends.", flush=True)
    page.block_thread()
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""The layout of the page, and what leads to what."""

from functools import partial

import gradio as gr

from .app import CLICK_HINT, COLUMNS, STOPPED, UPLOAD_HINT, VIDEO_HINT, App

SCORE_THRESH = 30  # per cent
HOUR = 3600  # seconds after which the files of a user are deleted
TITLE = """# Try object detectors on your images
Choose an image to see which objects a model finds in it, how sure it is, and how long it took.
"""
CAMERA_HINT = "Browsers give a camera only to pages on this machine or with https."
HEAD_HINT = """What the first model computes at each location of a level: the *score* of the best
class, and *alignment*, the map M that corrects it. Dark is 0, bright is 1."""
TABLE_LABEL = "Detections: score in %, box as x1 y1 x2 y2"
HEAD_PICTURES = {"location": "Location", "scores": "Score", "alignment": "Alignment M"}
DOWNLOADS = {"json": "Save JSON", "png": "Save picture", "html": "Save report"}
TOGGLE_DARK = "() => { document.body.classList.toggle('dark'); }"


def text_box(value: str, elem_id: str, label: str) -> gr.Textbox:
    """Shows a text as it is, where gr.Markdown would follow what is in it."""
    return gr.Textbox(
        value,
        label=label,
        show_label=False,
        container=False,
        max_lines=5,
        interactive=False,
        elem_id=elem_id,
    )


def table(elem_id: str, headers: list[str], label: str) -> gr.Dataframe:
    """A table that shows texts as they are."""
    return gr.Dataframe(
        headers=headers,
        datatype=["str", "number", "str"],
        label=label,
        elem_id=elem_id,
        interactive=False,
        buttons=[],
    )


def build_page(app: App) -> gr.Blocks:
    """Lays out the page. Whoever asks it for what, it does one thing at a time."""
    first = app.names[0]
    class_choices, (_, thumbnails) = app.class_choices(first), app.examples(first)
    page = gr.Blocks(title="tood_d2", analytics_enabled=False, delete_cache=(HOUR, HOUR))
    with page:
        session = gr.State(time_to_live=HOUR)
        path = gr.State()  # of the image
        clip = gr.State(time_to_live=HOUR)  # the folder of a video
        head_visible = gr.State(False)
        gr.Markdown(TITLE)
        with gr.Row():
            with gr.Column(scale=1, min_width=300):
                name = gr.Dropdown(app.names, value=first, label="Model", elem_id="model")
                choices = [("none", ""), *((x, x) for x in app.names)]
                second = gr.Dropdown(choices, value="", label="Compare with", elem_id="second")
                with gr.Tab("Image") as image_tab:
                    # Gradio itself would show the name of a wrong file as HTML.
                    upload = gr.File(label="Image", height=140, elem_id="upload")
                    examples = gr.Gallery(
                        thumbnails,
                        label="Examples",
                        columns=3,
                        allow_preview=False,
                        buttons=[],
                        interactive=False,
                        visible=bool(thumbnails),
                        elem_id="examples",
                    )
                with gr.Tab("Camera") as camera_tab:
                    camera = gr.Image(
                        label="Camera",
                        sources=["webcam"],
                        type="filepath",
                        image_mode=None,
                        height=240,
                        webcam_options=gr.WebcamOptions(mirror=False),
                        elem_id="camera",
                    )
                    gr.Markdown(CAMERA_HINT)
                with gr.Tab("Video") as video_tab:
                    video = gr.File(label="Video", height=140, elem_id="video")
                    with gr.Row():
                        start = gr.Button("Detect", variant="primary", min_width=100)
                        stop = gr.Button("Stop", min_width=100)
            with gr.Column(scale=3, min_width=300):
                with gr.Column() as image_results:
                    message = text_box(UPLOAD_HINT, "message", "Result")
                    with gr.Row():
                        pictures = [
                            gr.Image(
                                label="Detections",
                                buttons=["fullscreen"],
                                min_width=280,
                                visible=not i,
                                elem_id=id_,
                                elem_classes="picture",
                                alt_text="The image with the detections drawn",
                            )
                            for i, id_ in enumerate(("picture", "second_picture"))
                        ]
                with gr.Column(visible=False) as video_results:
                    video_message = text_box(VIDEO_HINT, "video_message", "Result")
                    drawn = gr.Video(
                        label="Detections",
                        interactive=False,
                        elem_id="drawn",
                        elem_classes="picture",
                    )
                    video_counts = table("video_counts", ["class", "most in a frame"], "Objects")
                with gr.Group(), gr.Row():
                    score = gr.Slider(
                        0, 100, SCORE_THRESH, step=1, label="Score at least, %", elem_id="score"
                    )
                    nms_thresh = app.load(first).predictor.model.test_nms_thresh
                    nms = gr.Slider(0, 1, nms_thresh, step=0.01, label="NMS: IoU", elem_id="nms")
                    classes = gr.Dropdown(
                        class_choices,
                        value=[],
                        multiselect=True,
                        label="Classes (all, if none is chosen)",
                        elem_id="classes",
                    )
                with gr.Column() as image_details:
                    with gr.Row():
                        files = [
                            gr.DownloadButton(
                                label, interactive=False, size="sm", min_width=90, elem_id=id_
                            )
                            for id_, label in DOWNLOADS.items()
                        ]
                    with gr.Tab("Objects") as objects_tab, gr.Row():
                        with gr.Column(scale=1, min_width=220):
                            counts = table("counts", ["class", "number"], "Numbers")
                        with gr.Column(scale=2, min_width=280):
                            rows = table("table", COLUMNS, TABLE_LABEL)
                    with gr.Tab("Inside the head") as head_tab:
                        gr.Markdown(HEAD_HINT)
                        level = gr.Radio([], label="Level", elem_id="level")
                        with gr.Row():
                            head_pictures = [
                                gr.Image(
                                    label=label,
                                    interactive=False,
                                    buttons=[],
                                    min_width=250,
                                    elem_id=id_,
                                )
                                for id_, label in HEAD_PICTURES.items()
                            ]
                        text = text_box(CLICK_HINT, "text", "Location")
        theme = gr.Button("Light or dark", size="sm", elem_id="theme")

        private = {"api_visibility": "private"}
        queued = {"concurrency_limit": 1, "concurrency_id": "all", **private}

        def listen(event, function, inputs, outputs, **kwargs):
            return event(app.one_at_a_time(function), inputs, outputs, **queued, **kwargs)

        def show_detections(event, **kwargs):
            outputs = [*pictures, counts, rows, *files, message]
            inputs = [session, score, nms, classes]
            return listen(event, app.show_detections, inputs, outputs, **kwargs)

        def show_head(event):
            inputs = [session, classes, level, head_visible]
            listen(event, app.show_head, inputs, [*head_pictures, text])

        def open_image(event):
            outputs = [session, level, message]
            opened = listen(event, app.open_image, [name, second, path], outputs)
            show_head(show_detections(opened.then).then)

        # The upload is emptied at once, to be ready for the next image.
        open_image(listen(upload.upload, lambda x: (x, None), upload, [path, upload]).then)
        open_image(listen(examples.select, app.open_example, name, path).then)
        open_image(listen(camera.input, lambda x: x, camera, path).then)
        open_image(listen(name.change, app.choose_model, name, [classes, examples]).then)
        open_image(second.change)
        for slider in (score, nms):
            show_detections(slider.change, trigger_mode="always_last", show_progress="hidden")
        show_head(show_detections(classes.input, trigger_mode="always_last").then)
        show_head(level.input)
        listen(rows.select, app.show_row, session, [*pictures, message], show_progress="hidden")
        for image in head_pictures:
            show_head(listen(image.select, app.mark, session, session).then)
        listen(objects_tab.select, lambda: False, None, head_visible)
        show_head(listen(head_tab.select, lambda: True, None, head_visible).then)

        # A video leaves the others their turn after each frame.
        drawing = start.click(
            app.show_video,
            [name, video, score, nms, classes],
            [clip, drawn, video_counts, video_message],
            show_progress_on=drawn,
            concurrency_limit=1,
            concurrency_id="video",
            **private,
        )
        stop.click(lambda: STOPPED, None, video_message, cancels=drawing, queue=False, **private)
        theme.click(None, js=TOGGLE_DARK, **private)
        outputs = [image_results, image_details, video_results]
        for tab in (image_tab, camera_tab, video_tab):
            show = partial(_show_results, tab is video_tab)
            tab.select(show, None, outputs, queue=False, **private)
    return page


def _show_results(is_video: bool) -> list[gr.Column]:
    return [gr.Column(visible=x) for x in (not is_video, not is_video, is_video)]

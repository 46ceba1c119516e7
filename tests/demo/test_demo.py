"""demo.py on good and broken images, in a folder of its own."""

import json

import cv2
import numpy as np
import pytest
from PIL import Image
from script_runs import Command, run

from tood_d2.inference.video import VideoReader, video_writer


@pytest.fixture(scope="module")
def run_demo(detecting_model):
    """Runs demo.py in a folder with a model that finds ten objects in any image."""
    config = ["--config-file", str(detecting_model / "config.yaml")]
    opts = ["--opts", f"train.init_checkpoint={detecting_model}/model_final.pth"]
    opts.append("model.max_detections_per_image=10")

    def _run_demo(folder, *args):
        return run(Command(["demo/demo.py", *config, *map(str, args), *opts]), folder)

    return _run_demo


@pytest.fixture
def demo(run_demo, tmp_path):
    """Runs demo.py in an empty folder, with relative paths for its output."""
    return lambda *args: run_demo(tmp_path, *args)


@pytest.fixture(scope="module")
def detect_in(run_demo):
    """Runs demo.py, which must succeed, in a folder; gives the results that it saved there."""

    def _detect_in(folder, *args):
        outcome = run_demo(folder, "--save-json", "results.json", *args)
        assert outcome.status == 0, outcome.output
        return json.loads((folder / "results.json").read_text())

    return _detect_in


@pytest.fixture
def detect(detect_in, tmp_path):
    """Runs demo.py, which must succeed, in an empty folder; gives the results that it saved."""
    return lambda *args: detect_in(tmp_path, *args)


@pytest.fixture(scope="module")
def expected(detect_in, shapes, tmp_path_factory):
    """Results of the three validation images without further options."""
    return detect_in(tmp_path_factory.mktemp("expected"), "--input", shapes / "val")


def assert_refused(outcome, message):
    assert outcome.status == 2
    assert message in outcome.messages[-1]
    assert "Traceback" not in outcome.output


def test_broken_images_are_skipped_and_the_others_drawn(demo, shapes, tmp_path, huge_png):
    (tmp_path / "broken.jpg").write_bytes(b"no image")
    (tmp_path / "huge.png").write_bytes(huge_png)
    (tmp_path / "sub").mkdir()
    first = sorted((shapes / "val").iterdir())[0]
    same_name = tmp_path / "sub" / first.name
    same_name.write_bytes(first.read_bytes())
    outcome = demo(
        "--input", shapes / "val", "broken.jpg", "huge.png", "sub/*", "--output", "pictures"
    )
    assert outcome.status == 1, outcome.output
    assert "broken.jpg: not readable, skipped" in outcome.output
    assert "huge.png: not readable, skipped (Image size (400000000" in outcome.output
    assert "40 detections in 4 images, drawn in pictures" in outcome.output
    pictures = {path.name: cv2.imread(str(path)) for path in (tmp_path / "pictures").iterdir()}
    assert len(pictures) == 4  # three of the folder, one of the same name as the first
    assert f"{first.stem}_1{first.suffix}" in pictures
    drawn, original = pictures[first.name], cv2.imread(str(first))
    assert drawn.shape == original.shape
    assert (drawn != original).any()


def test_threshold_above_all_scores_draws_nothing(demo, shapes, tmp_path):
    first = sorted((shapes / "val").iterdir())[0]
    outcome = demo("--input", first, "--confidence-threshold", "1")
    assert outcome.status == 0, outcome.output
    assert "0 detections in 1 images" in outcome.output
    drawn = cv2.imread(str(tmp_path / "demo_output" / first.name))
    assert (drawn == cv2.imread(str(first))).all()


def test_an_image_above_the_limit_can_be_allowed(demo, tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 300_000)
    Image.new("RGB", (1000, 1000)).save(tmp_path / "a.png")
    outcome = demo("--input", "a.png", "--output", "pictures")
    assert outcome.status == 1
    assert "(1000000 pixels) exceeds limit of 600000 pixels" in outcome.output
    assert "--max-megapixels allows more" in outcome.output
    outcome = demo("--input", "a.png", "--output", "pictures", "--max-megapixels", 1)
    assert outcome.status == 0, outcome.output


def test_images_of_the_same_name_can_be_told_apart(detect, shapes, tmp_path):
    for folder, path in zip(("1", "2"), sorted((shapes / "val").iterdir()), strict=False):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "x.png").write_bytes(path.read_bytes())
    results = detect("--input", "1/x.png", "2/x.png", "1/../1/x.png", "--output", "out")
    assert len(results) == 20
    names = {(x["file_name"], x["image_id"]) for x in results}
    assert names == {("1/x.png", "1/x"), ("2/x.png", "2/x")}
    assert len(list((tmp_path / "out").iterdir())) == 2


def test_pictures_of_an_earlier_run_are_replaced_and_counted(demo, shapes, tmp_path):
    assert demo("--input", shapes / "val", "--output", "out").status == 0
    (tmp_path / "out" / "other.png").touch()
    outcome = demo("--input", shapes / "val", "--output", "out")
    assert outcome.status == 0
    assert "out: 3 pictures of an earlier run are replaced, 1 other images stay" in outcome.output


class TestFilesAreNotHarmed:
    """Without a model, as files are checked before it is loaded."""

    @pytest.fixture
    def demo(self, tmp_path):
        for folder in ("images", "others"):
            (tmp_path / folder).mkdir()
            Image.new("RGB", (8, 8)).save(tmp_path / folder / "a.png")
        (tmp_path / "config.yaml").write_text("model: none")
        (tmp_path / "val.json").write_text('{"images": []}')
        (tmp_path / "link.png").symlink_to("images/a.png")
        (tmp_path / "hard.png").hardlink_to(tmp_path / "images/a.png")
        (tmp_path / "a.mp4").write_text("a video")
        before = {x: x.read_bytes() for x in tmp_path.rglob("*") if x.is_file()}

        def _demo(*args):
            argv = ["demo/demo.py", "--config-file", "config.yaml", *args]
            outcome = run(Command(argv), tmp_path)
            assert {x: x.read_bytes() for x in tmp_path.rglob("*") if x.is_file()} == before
            return outcome

        return _demo

    @pytest.mark.parametrize("output", ["images", "."])
    def test_inputs(self, demo, output, tmp_path):
        args = ["--input", "link.png", "images", "--output", output]
        assert_refused(demo(*args), "a.png is an input" if output == "images" else "link.png is an")

    def test_other_images(self, demo):
        message = "others/a.png exists and is not drawn by tood_d2"
        assert_refused(demo("--input", "images", "--output", "others"), message)

    def test_videos(self, demo, tmp_path):
        assert_refused(demo("--video-input", "a.mp4", "--output", "."), "./a.mp4 is an input")

    @pytest.mark.parametrize("name", ["images/a.png", "link.png", "hard.png", "config.yaml"])
    def test_results_in_place_of_an_input(self, demo, name):
        assert_refused(demo("--input", "images", "--save-json", name), f"{name} is an input")

    def test_results_in_place_of_other_files(self, demo):
        outcome = demo("--input", "images", "--save-json", "val.json")
        assert_refused(outcome, "val.json: exists and has no detections")

    def test_results_in_place_of_a_picture(self, demo):
        outcome = demo("--input", "images", "--output", "out", "--save-json", "out/a.png")
        assert_refused(outcome, "out/a.png: a picture will have this name")

    def test_a_folder_in_place_of_a_picture(self, demo, tmp_path):
        (tmp_path / "out" / "a.png").mkdir(parents=True)
        assert_refused(demo("--input", "images", "--output", "out"), "out/a.png is a folder")


def test_inputs_that_do_not_exist_are_refused(demo):
    assert_refused(demo("--input", "nowhere/*.jpg"), "nowhere/*.jpg")


def test_default_model_without_weights_is_refused(shapes, tmp_path):
    args = ["--input", f"{shapes}/val", "--opts", "train.init_checkpoint="]
    assert_refused(run(Command(["demo/demo.py", *args]), tmp_path), "train.init_checkpoint")


def assert_same_results(actual, expected):
    assert len(actual) == len(expected) > 0
    for one, other in zip(actual, expected, strict=True):
        assert one["score"] == pytest.approx(other["score"], rel=1e-4)
        assert one["bbox"] == pytest.approx(other["bbox"], rel=1e-4, abs=1e-2)
        assert (one["image_id"], one["category_id"]) == (other["image_id"], other["category_id"])


def test_optimized_model_detects_the_same(detect, shapes, expected):
    actual = detect("--input", shapes / "val", "--optimize", "float32")
    assert_same_results(actual, expected)


def test_results_have_the_form_of_coco(shapes, expected):
    assert {x["file_name"] for x in expected} == {x.name for x in (shapes / "val").iterdir()}
    for result in expected:
        x, y, width, height = result["bbox"]
        assert width >= 0 and height >= 0 and 0.3 <= result["score"] <= 1


def test_results_have_at_least_the_threshold_as_score(detect, shapes, expected):
    threshold = np.mean([x["score"] for x in expected])
    kept = [x for x in expected if x["score"] >= threshold]
    assert 0 < len(kept) < len(expected)
    assert detect("--input", shapes / "val", "--confidence-threshold", threshold) == kept


def test_batches_detect_the_same(detect, shapes, expected):
    assert_same_results(detect("--input", shapes / "val", "--batch-size", 2), expected)


def test_only_the_given_classes_are_kept(detect, shapes, expected):
    first, *others = sorted({x["category_name"] for x in expected})
    assert others
    some = detect("--input", shapes / "val", "--classes", first)
    assert some == [x for x in expected if x["category_name"] == first]


def test_unknown_classes_are_refused(demo, shapes):
    outcome = demo("--input", shapes / "val", "--classes", "unicorn")
    assert_refused(outcome, "--classes unicorn: not known, only ")


def test_frames_of_a_video_are_drawn(detect, shapes, tmp_path):
    frames = [cv2.imread(str(path)) for path in sorted((shapes / "val").iterdir())]
    height, width = frames[0].shape[:2]
    frames = [cv2.resize(x, (width, height)) for x in frames]
    with video_writer(str(tmp_path / "shapes.mp4"), (height, width), 5.0) as write:
        for frame in frames:
            write(frame)
    results = detect("--video-input", "shapes.mp4", "--output", "out", "--batch-size", 2)
    assert {x["image_id"] for x in results} == {f"shapes_{i:06d}" for i in range(3)}
    drawn = VideoReader(str(tmp_path / "out" / "shapes.mp4"))
    assert (drawn.size, drawn.rate, len(drawn)) == ((height, width), 5.0, 3)
    differences = [np.abs(x.astype(int) - y).mean() for x, y in zip(drawn, frames, strict=True)]
    assert min(differences) > 1  # there are boxes


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--video-input", "text.mp4"], "text.mp4: no video"),
        (["--webcam", "99"], "99: no camera"),
        (["--input", ".", "--onnx", "model.onnx"], "--onnx goes with none of"),
    ],
)
def test_what_cannot_be_used_is_refused(demo, tmp_path, args, message):
    (tmp_path / "text.mp4").write_text("no video")
    (tmp_path / "a.png").write_text("")
    assert_refused(demo(*args), message)


def test_test_time_augmentation_finds_ten_objects_in_each_image(detect, shapes, expected):
    results = detect("--input", shapes / "val", "--tta")
    assert len(results) == len(expected) == 30 and results != expected


def test_a_model_and_its_copy_find_what_it_finds_alone(detect, shapes, expected, detecting_model):
    together = detect("--input", shapes / "val", "--ensemble", detecting_model)
    assert together == expected


def test_several_models_are_merged_by_box_fusion(shapes, tmp_path, detecting_model):
    model = detecting_model / "model_final.pth"
    files = ["--input", shapes / "val", "--save-json", "results.json"]
    fusion = ["--opts", "train.merge.method=wbf", "train.merge.weights=[2,1]"]
    fusion.append("model.max_detections_per_image=10")
    argv = ["demo/demo.py", "--config-file", detecting_model / "config.yaml", *files]
    argv += ["--ensemble", model, *fusion, f"train.init_checkpoint={model}"]
    outcome = run(Command(list(map(str, argv))), tmp_path)
    assert outcome.status == 0, outcome.output
    assert json.loads((tmp_path / "results.json").read_text())


def test_ensembles_that_cannot_be_are_refused(demo, shapes, tmp_path, detecting_model):
    files = ["--input", shapes / "val", "--output", "out"]
    assert_refused(demo(*files, "--ensemble", "nowhere"), "nowhere: no trained model")
    other = tmp_path / "other"
    other.mkdir()
    (other / "model_final.pth").symlink_to(detecting_model / "model_final.pth")
    config = (detecting_model / "config.yaml").read_text()
    (other / "config.yaml").write_text(config.replace("star", "moon"))
    message = "--ensemble other: models can be merged if they have the same classes; missing here: "
    assert_refused(demo(*files, "--ensemble", "other"), message + "star, only here: moon")


def test_slices_find_objects_along_the_whole_image(detect, shapes, tmp_path):
    pytest.importorskip("sahi")
    limit = Image.MAX_IMAGE_PIXELS
    image = cv2.imread(str(sorted((shapes / "val").iterdir())[0]))
    cv2.imwrite(str(tmp_path / "wide.png"), np.concatenate([image] * 4, axis=1))
    size = image.shape[1]
    sliced = detect("--input", "wide.png", "--slice-size", size)
    assert len(sliced) > 10  # as many are found in the whole image
    # Nothing reaches out of the image, and some objects are found in the last slice.
    assert max(x["bbox"][0] + x["bbox"][2] for x in sliced) <= 4 * size
    assert max(x["bbox"][0] for x in sliced) > 3 * size
    assert limit == Image.MAX_IMAGE_PIXELS is not None  # SAHI lifts it

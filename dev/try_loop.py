#!/usr/bin/env python
"""Goes round the loop of those who label, train, look, correct and deploy, and checks each step.

try_loop.py --label-studio ls/bin/label-studio --fiftyone fo/bin/python --images images/ \\
    --config-file output/mine/config.yaml --opts train.init_checkpoint=output/mine/model_final.pth

A project in Label Studio is pre-labelled by a model, predictions are accepted, exported and trained
on. Suspects are looked for in the annotations, FiftyOne shows the test data with the detections,
and the model is shared as a folder and served from there. All servers are real, on free ports of
this machine; Label Studio and FiftyOne are in environments of their own.
"""

import argparse
import contextlib
import os
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import requests
from try_label_studio import (
    NUM_ACCEPTED,
    NUM_IMAGES,
    accept,
    ask_for_predictions,
    backend,
    check_predictions,
    connect,
    create_project,
    export,
    free_port,
    import_images,
    label_studio,
    started,
    tood,
)

from tood_d2.cli.arguments import add_config_arguments
from tood_d2.cli.messages import short_errors
from tood_d2.config import load_run
from tood_d2.data.images import read_image
from tood_d2.inference.image_files import find_images
from tood_d2.integrations.fine_tuning import training_overrides
from tood_d2.integrations.hub import PretrainedPredictor


def label(args: argparse.Namespace, folder: Path) -> None:
    """From a project to ``folder / "export"``."""
    classes = load_run(args.config_file, args.opts, args.trust).class_names
    with (
        label_studio(args.label_studio, folder / "server") as server,
        backend(args, server, folder / "backend") as url,
    ):
        project = create_project(server, classes)
        import_images(server, project, find_images([args.images])[:NUM_IMAGES])
        connect(server, project, url)
        predictions = ask_for_predictions(server, project)
        check_predictions(predictions, classes)
        num_boxes = accept(server, predictions[:NUM_ACCEPTED])
        export(server, project, folder / "export")
    print(f"Label Studio: {NUM_ACCEPTED} of {NUM_IMAGES} predictions accepted, {num_boxes} boxes")


def train(args: argparse.Namespace, folder: Path) -> None:
    """From ``folder / "export"`` to ``folder / "trained"``."""
    run = load_run(args.config_file, args.opts, args.trust)
    overrides = training_overrides(run, folder / "export", folder / "trained")
    overrides.append(f"{run.key('max_iter')}={args.iterations}")
    tood("train", "--config-file", args.config_file, *args.opts, *overrides)
    print(f"tood train: {args.iterations} iterations on the export")


def find_suspects(folder: Path) -> None:
    model = ["--config-file", folder / "trained" / "config.yaml"]
    weights = f"train.init_checkpoint={folder}/trained/model_final.pth"
    command = ["data", "suspects", folder / "export" / "result.json", folder / "export"]
    tood(*command, "--output", folder / "suspects", *model, "--opts", weights)
    assert any((folder / "suspects").iterdir())
    print(f"tood data suspects: {', '.join(sorted(os.listdir(folder / 'suspects')))}")


def look(args: argparse.Namespace, folder: Path) -> None:
    """Opens the view of FiftyOne, as a browser does."""
    port = free_port()
    environment = {"FIFTYONE_DEFAULT_APP_PORT": str(port)}
    command = [args.fiftyone, "-m", "tood_d2", "view", str(folder / "trained")]
    url = f"http://127.0.0.1:{port}"
    with started(command, environment, url, folder / "view.log", path="/"):
        answer = requests.get(url)
        assert answer.ok and "FiftyOne" in answer.text, answer.text[:500]
    print("tood view: FiftyOne shows the test data")


def share(args: argparse.Namespace, folder: Path) -> None:
    source, target = folder / "trained", folder / "shared"
    tood("share", source, "--output", target, "--pictures", args.images, "--license", "other")
    print(f"tood share: {', '.join(sorted(os.listdir(target)))}")


def serve(args: argparse.Namespace, folder: Path) -> None:
    """Compares what the service answers with what the shared model detects here."""
    port, shared = free_port(), folder / "shared"
    command = [sys.executable, "-m", "tood_d2", "serve", "--port", str(port)]
    command += ["--confidence-threshold", "0.1", "--config-file", str(shared / "config.yaml")]
    command += ["--opts", f"train.init_checkpoint={shared}/model.safetensors"]
    url, path = f"http://127.0.0.1:{port}", find_images([args.images])[0]
    with started(command, {}, url, folder / "serve.log", path="/readyz"):
        answer = requests.post(f"{url}/v1/detect", data=Path(path).read_bytes())
        assert answer.ok, answer.text
        served = answer.json()["detections"]
    predictor = PretrainedPredictor.from_pretrained(shared)
    (instances,) = predictor.detect([read_image(path, "RGB")])
    instances = instances[instances.scores >= 0.1]
    expected = instances[instances.scores.argsort(descending=True, stable=True)]
    assert len(served) == len(expected), (len(served), len(expected))
    boxes = np.array([x["box"] for x in served]).reshape(-1, 4)
    assert np.allclose(boxes, expected.pred_boxes.tensor, atol=0.02)
    print(f"tood serve: {len(served)} detections, those of the shared model")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--label-studio", required=True, metavar="FILE", help="executable of Label Studio's server")
    add("--fiftyone", required=True, metavar="FILE", help="interpreter with FiftyOne and tood_d2")
    add("--images", required=True, metavar="FOLDER", help="with at least 10 images")
    add("--iterations", type=int, default=20, metavar="N", help="of training (20)")
    add("--keep", metavar="FOLDER", help="new folder for all files, to be kept")
    add_config_arguments(parser, help="config of a trained model, .py or dumped", required=True)
    args = parser.parse_args()
    with short_errors(parser.prog), contextlib.ExitStack() as stack:
        if args.keep:
            os.makedirs(args.keep)
        folder = args.keep or stack.enter_context(TemporaryDirectory(prefix="loop-"))
        folder = Path(folder).resolve()
        label(args, folder)
        train(args, folder)
        find_suspects(folder)
        look(args, folder)
        share(args, folder)
        serve(args, folder)


if __name__ == "__main__":
    main()

"""The card of a shared model: a README.md that people read, with metadata for the Hub."""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from ..config import Run
from ..data.coco.dataset import load_coco
from ..text import printable

TASK = "object-detection"
METRICS = {
    "AP": "mean over IoU 0.50 to 0.95",
    "AP50": "at IoU 0.50",
    "AP75": "at IoU 0.75",
    "APs": "small objects",
    "APm": "medium objects",
    "APl": "large objects",
}


def check_license(license: str) -> str:
    """The identifier of a licence as the Hub writes it, "" for none.

    Raises:
        ValueError: if it is no identifier.
    """
    name = license.lower()
    if name and not re.fullmatch(r"[a-z0-9][a-z0-9.+-]*", name):
        raise ValueError(
            f"--license {printable(license)}: should be an identifier of the Hub, such as "
            "apache-2.0, cc-by-4.0 or other"
        )
    return name


def model_card(
    name: str,
    run: Run,
    results: Mapping[str, float],
    *,
    license: str = "",
    pictures: Sequence[str] = (),
    packages: Sequence[str] = (),
) -> ModelCard:
    """Makes the card of a model.

    Args:
        name: to load the model by, as "user/name".
        run: as it was trained, so its data may be there.
        results: of :func:`.read_results`.
        license: see :func:`check_license`.
        pictures: of detections, relative to the card.
        packages: that have to be trusted.
    """
    title = name.rpartition("/")[2]
    data = ModelCardData(
        license=license or None,
        library_name="tood_d2",
        pipeline_tag=TASK,
        tags=[TASK, "tood", "detectron2"],
        model_name=title if results else None,
        eval_results=_eval_results(run, results) or None,
    )
    parts = [
        f"# {_plain(title)}",
        "A [TOOD](https://arxiv.org/abs/2108.07755) detector of tood_d2, which builds on "
        "[Detectron2](https://github.com/facebookresearch/detectron2). " + _classes(run),
        " ".join(f"![Detections]({path})" for path in pictures),
        "## Use",
        _usage(name, packages),
        "## Training",
        _training(run),
        *(["## Results", _results(run, results)] if results else []),
        "## Licence",
        license or "None is given: ask those who share the model before you use it.",
    ]
    return ModelCard(f"---\n{data.to_yaml()}\n---\n\n" + "\n\n".join(filter(None, parts)) + "\n")


def _eval_results(run: Run, results: Mapping[str, float]) -> list[EvalResult]:
    data = _data_name(run, "test")
    return [
        EvalResult(
            task_type=TASK,
            dataset_type=data,
            dataset_name=data,
            metric_type="mean_average_precision",
            metric_name=f"{key} ({purpose}), in percent",
            metric_value=round(results[key], 2),
        )
        for key, purpose in METRICS.items()
        if _is_known(results.get(key))
    ]


def _usage(name: str, packages: Sequence[str]) -> str:
    trusted = f", trusted={json.dumps(packages)}" if packages else ""
    trust = "".join(f" --trust {x}" for x in packages)
    folder = name.rpartition("/")[2]
    download = f" (`hf download {name} --local-dir {folder}`)" if folder != name else ""
    return f"""```python
import cv2
from tood_d2.integrations.hub import PretrainedPredictor

predictor = PretrainedPredictor.from_pretrained({json.dumps(name)}{trusted})
found = predictor(cv2.imread("image.jpg"))["instances"]
for label, score, box in zip(found.pred_classes, found.scores, found.pred_boxes):
    print(predictor.class_names[label], f"{{score:.2f}}", box.tolist())
```

On the command line, with the files in a folder{download}:

```sh
tood predict --input images/ --config-file {folder}/config.yaml{trust} \\
    --opts train.init_checkpoint={folder}/model.safetensors
```"""


def _classes(run: Run) -> str:
    names = run.known_class_names
    if not names:
        return f"The names of its {run.options.num_classes} classes are not known."
    return f"It detects {len(names)} classes: {', '.join(map(_plain, names))}."


def _training(run: Run) -> str:
    return (
        f"Trained on {_data(run, 'train')}, tested on {_data(run, 'test')}: "
        f"{run.options.max_iter} iterations of {run.options.batch_size} images each."
    )


def _results(run: Run, results: Mapping[str, float]) -> str:
    rows = {f"{key}, {text}": results.get(key) for key, text in METRICS.items()}
    rows |= {_plain(x): results.get(f"AP-{x}") for x in run.known_class_names}
    table = "\n".join(f"| {x} | {value:.1f} |" for x, value in rows.items() if _is_known(value))
    return f"COCO's AP in percent, measured by training:\n\n| | AP |\n|---|---|\n{table}"


def _data(run: Run, split: str) -> str:
    text = _plain(_data_name(run, split))
    try:
        dataset = load_coco(getattr(run.options, f"{split}_json"))
    except (OSError, ValueError):  # the card is no worse for data that have moved
        return text
    return f"{text} ({len(dataset.image_ids)} images, {len(dataset.arrays.boxes)} objects)"


def _data_name(run: Run, split: str) -> str:
    """Of a registered data set, or of the user's file without its folders."""
    json_file = getattr(run.options, f"{split}_json")
    names = run.train_names if split == "train" else run.test_names
    return Path(json_file).stem if json_file else ", ".join(filter(None, names)) or "unknown data"


def _is_known(value: float | None) -> bool:
    return value is not None and value == value  # COCO's AP of no objects is nan


def _plain(text: str) -> str:
    """A text that Markdown leaves as it is."""
    return re.sub(r"([\\`*_{}\[\]<>|#])", r"\\\1", printable(text))

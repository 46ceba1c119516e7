#!/usr/bin/env python
"""What users get wrong and machines do to them, and what the programs should say then.

Each fault is given to the program as it is started, in this process. `python tests/faults.py`
prints the catalogue as a table, with the messages as they are now.
"""

import errno
import json
import os
import pickle
import re
import struct
import sys
import tempfile
import zlib
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple
from unittest import mock

import torch
from fault_cases import HACKED, SMALL, Case, small_weights
from PIL import Image
from script_runs import Command, Outcome, run
from tabulate import tabulate
from tqdm import tqdm

from tood_d2.data.shapes import make_shapes

STARTED = "Starting training"


class Fault(NamedTuple):
    """Something wrong, and what is expected of the program."""

    kind: str
    name: str
    prepare: Callable[[Case], Command]
    words: tuple[str, ...]
    """Each of them belongs into the message."""
    status: int = 2
    """2 ends the program, 1 is a result that is not as it should be, 0 goes on with a warning."""
    starts: bool = False
    """Whether training starts, as the fault cannot be known before."""


class _Hostile:
    def __reduce__(self):
        return os.mkdir, (HACKED,)


def png_header(width: int, height: int) -> bytes:
    """A PNG that says it is large."""
    chunk = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    start = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13)
    return start + chunk + struct.pack(">II", zlib.crc32(chunk), 0) + b"IDAT" + bytes(4)


def _truncated_jpeg(path: Path) -> None:
    Image.open(path).save(path, "JPEG")
    path.write_bytes(path.read_bytes()[:2000])


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _broken_exif(path: Path) -> None:
    Image.open(path).save(path, "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff")


def _nested(case: Case) -> Command:
    case.json.write_text("[" * 100_000)
    return case.train()


def _text(case: Case) -> Command:
    case.json.write_text("{not JSON")
    return case.train()


def _json_folder(case: Case) -> Command:
    _folder(case.json)
    return case.train()


def _other_categories(content: dict) -> None:
    content["categories"][0]["name"] = "oval"


def _set(key: str, position: int, **values) -> Callable[[dict], None]:
    return lambda content: content[key][position].update(values)


def _damaged_run(case: Case) -> Command:
    for name in ("model_0000001.pth", "model_0000003.pth"):
        case.file(f"out/{name}", b"damaged")
    case.file("out/last_checkpoint", "model_0000003.pth")
    return case.train(flags=["--resume"])


def _resume_weights(case: Case) -> Command:
    case.file("out/model_final.pth", Path(small_weights()).read_bytes())
    return case.train(flags=["--resume"])


def _truncated_weights(case: Case) -> Command:
    content = Path(small_weights()).read_bytes()
    return case.evaluate(case.file("short.pth", content[: len(content) // 2]))


def _other_model(case: Case) -> Command:
    path = case.folder / "other.pth"
    torch.save({"model": torch.nn.Linear(2, 2).state_dict()}, path)
    return case.evaluate(str(path))


def _hostile_weights(case: Case, name: str) -> Command:
    return case.evaluate(case.file(name, pickle.dumps({"model": _Hostile()})))


def _pipe(case: Case, name: str) -> str:
    os.mkfifo(path := case.folder / name)
    return str(path)


def _full_disk(case: Case) -> Command:
    error = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    return case.train(patch=mock.patch("os.fsync", side_effect=error))


def _no_gpu(case: Case) -> Command:
    patch = mock.patch("torch.cuda.is_available", return_value=False)
    command = case.evaluate(small_weights(), patch=patch)
    return command._replace(argv=[*command.argv, "train.device=cuda"])


def _two_gpus(case: Case) -> Command:
    patch = mock.patch("torch.cuda.device_count", return_value=2)
    return case.plain("--num-gpus", "3", "--config-file", SMALL, patch=patch)


def _two_processes(case: Case) -> Command:
    patch = mock.patch(
        "tood_d2.data.loading.loader.comm", SimpleNamespace(get_world_size=lambda: 2)
    )
    return case.train("dataloader.train.total_batch_size=3", patch=patch)


def _torchrun(case: Case, *arguments: str) -> Command:
    environment = {"TORCHELASTIC_RUN_ID": "1", "RANK": "0", "WORLD_SIZE": "2"}
    environment |= {"LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "2"}
    return case.plain(*arguments, "--config-file", SMALL, environment=environment)


def _srun(case: Case, **changes: str) -> Command:
    environment = {"SLURM_STEP_ID": "0", "SLURM_PROCID": "0", "SLURM_LOCALID": "0"}
    environment |= {"SLURM_NODEID": "0"}
    environment |= {"SLURM_STEP_NUM_TASKS": "4", "SLURM_STEP_NUM_NODES": "2"}
    environment |= {"SLURM_STEP_NODELIST": "localhost", "SLURM_JOB_ID": "1"}
    return case.plain("--config-file", SMALL, environment=environment | changes)


def _without_package(case: Case, name: str, option: str) -> Command:
    patch = mock.patch.dict(sys.modules, {name: None})
    return case.train(f"{option}=shapes", patch=patch)


def _broken_demo_image(case: Case) -> Command:
    broken = case.file("broken.jpg", "no image")
    return case.demo("--input", broken, str(case.folder / "val"))


def _existing(case: Case, *names: str) -> list[str]:
    return [case.file(name, "in the way") for name in names]


def _low_ap(case: Case) -> Command:
    line = json.dumps({"iteration": 1, **{f"bbox/{x}": 12.0 for x in ("AP", "AP50", "AP75")}})
    case.file("out/metrics.json", line)
    return case.tool("report_runs", case.output, "--at-least", 50)


IMAGES = [
    Fault(
        "image",
        name,
        lambda case, spoil=spoil: case.train_on_image(spoil),
        ("000001.png", *words),
        starts=starts,
    )
    for name, spoil, words, starts in (
        ("truncated JPEG", _truncated_jpeg, ("truncated",), True),
        ("file of zero bytes", lambda path: path.write_bytes(b""), ("it is no image",), True),
        ("text", lambda path: path.write_text("no image"), ("it is no image",), True),
        (
            "PNG that says it has 10 billion pixels",
            lambda path: path.write_bytes(png_header(100_000, 100_000)),
            ("179 megapixels",),
            True,
        ),
        (
            "another size than in the JSON",
            lambda path: Image.new("RGB", (64, 48)).save(path),
            ("has 64 x 48 pixels", "320 x 240", "train.json"),
            False,
        ),
        ("missing file", Path.unlink, ("no such image", "train.json"), False),
        ("folder in place of a file", _folder, ("no such image", "train.json"), False),
    )
] + [
    Fault(
        "image",
        "broken EXIF, which the size does not depend on",
        lambda case: case.train_on_image(_broken_exif),
        (),
        status=0,
        starts=True,
    ),
    Fault(
        "image",
        "truncated image of the test data",
        lambda case: (
            _truncated_jpeg(case.folder / "val" / "000001.png"),
            case.evaluate(small_weights()),
        )[1],
        ("val/000001.png", "truncated"),
    ),
]

ANNOTATIONS = [
    Fault(
        "annotations",
        name,
        lambda case, change=change: case.train_on_json(change),
        ("train.json", *words),
    )
    for name, change, *words in (
        ("lists missing", lambda content: content.pop("annotations"), "annotations"),
        ("no categories", lambda content: content.update(categories=[]), "'categories' is empty"),
        ("unknown category", _set("annotations", 0, category_id=77), "category_id 77"),
        ("unknown image", _set("annotations", 0, image_id=77), "image_id 77"),
        ("box of three numbers", _set("annotations", 0, bbox=[1, 2, 3]), "annotation 1", "box"),
        ("box with NaN", _set("annotations", 0, bbox=[1, 2, 3, float("nan")]), "annotation 1"),
        ("infinite box", _set("annotations", 0, bbox=[1, 2, float("inf"), 3]), "annotation 1"),
        ("box of text", _set("annotations", 0, bbox="1 2 3 4"), "annotation 1", "bbox"),
        ("two images of one id", _set("images", 1, id=1), "image 1", "another image"),
        ("image without a width", _set("images", 0, width=0), "image 1", "width"),
        ("file name that is a number", _set("images", 0, file_name=7), "file_name"),
        ("test data of other classes", _other_categories, "val.json", "categories", "oval"),
        ("no boxes at all", lambda content: content.update(annotations=[]), "no box"),
    )
] + [
    Fault("annotations", name, prepare, words)
    for name, prepare, *words in (
        ("not JSON", _text, "train.json", "not JSON"),
        ("nested 100 000 times", _nested, "train.json"),
        ("folder in place of the JSON", _json_folder, "train.json", "no such annotation file"),
        (
            "JSON without its images",
            lambda case: case.train("dataset.train_images="),
            "dataset.train_json",
            "dataset.train_images",
        ),
        (
            "training data alone",
            lambda case: case.train("dataset.test_json=", "dataset.test_images="),
            "dataset.test_json",
        ),
        (
            "folder of the images missing",
            lambda case: case.train("dataset.train_images=nowhere"),
            "nowhere",
        ),
        (
            "data sets that are not installed",
            lambda case: case.plain("--config-file", SMALL, f"train.output_dir={case.output}"),
            "instances_train2017.json",
        ),
        ("label beyond the classes", lambda case: case.registered(2), "model.num_classes", "label"),
    )
]

OPTIONS = [
    Fault("config", name, lambda case, option=option: case.train(option), (option.split("=")[0],))
    for name, option in (
        ("misspelt key", "train.max_itr=1"),
        ("override without a value", "train.max_iter"),
        ("text for a number", "train.max_iter=abc"),
        ("number for a switch", "train.ema.enabled=3"),
        ("no batch to accumulate", "train.gradient_accumulation=0"),
        ("log period of 0", "train.log_period=0"),
        ("empty batch", "dataloader.train.total_batch_size=0"),
        ("early stopping without evaluations", "train.early_stopping=-1"),
        ("unknown type of mixed precision", "train.amp.dtype=float8"),
        ("negative length", "train.max_iter=-5"),
        ("no iterations", "train.max_iter=0"),
        ("several values", "train.max_iter=1,2"),
        ("characters that no number has", "train.max_iter=é"),
        ("negative learning rate", "optimizer.lr=-1"),
        ("learning rate of nan", "optimizer.lr=nan"),
        ("negative period", "train.eval_period=-3"),
        ("batch that no machine holds", "dataloader.train.total_batch_size=100000000000"),
        ("device that does not exist", "train.device=gpu"),
        ("empty output folder", "train.output_dir="),
        ("output folder on other storage", "train.output_dir=s3://bucket/out"),
    )
]


def _config(name: str, config: str, content: str, *words: str) -> Fault:
    """A faulty config file, by itself."""
    return Fault(
        "config",
        name,
        lambda case: case.plain("--config-file", case.file(config, content)),
        (config, *words),
    )


_OS_SYSTEM = f"!!python/object/apply:os.mkdir [{HACKED}]"
CONFIGS = OPTIONS + [
    Fault(
        "config",
        "average that only grows",
        lambda case: case.train("train.ema.enabled=True", "train.ema.decay=2"),
        ("train.ema.decay",),
    ),
    Fault(
        "config",
        "no file",
        lambda case: case.plain("--config-file", "nowhere.py"),
        ("nowhere.py", "--config-file"),
    ),
    _config("wrong ending", "config.txt", "a: 1", ".yaml"),
    _config("Python with a syntax error", "config.py", "model = (\n", "line 1"),
    _config("Python that fails", "config.py", "model = dict(x=1 / 0)\n", "division by zero"),
    _config("Python without a model", "config.py", "train = dict(max_iter=1)\n", "model"),
    _config("YAML with a syntax error", "config.yaml", "SOLVER: [1\n", "line"),
    _config("YAML with a misspelt key", "config.yaml", "SOLVER:\n  MAX_ITR: 1\n", "MAX_ITR"),
    _config("YAML with a wrong type", "config.yaml", "SOLVER:\n  MAX_ITER: abc\n", "MAX_ITER"),
    _config("YAML with a Python object", "config.yaml", f"OUTPUT_DIR: {_OS_SYSTEM}\n"),
    _config("dumped config with a Python object", "config.yaml", f"model: {_OS_SYSTEM}\n"),
    _config("config of bytes", "config.py", b"\xff\xfe\x00"),
    Fault(
        "config",
        "class that does not exist",
        lambda case: case.train("model._target_=nowhere.Model"),
        ("nowhere.Model",),
    ),
    Fault(
        "config",
        "misspelt key for YAML",
        lambda case: case.train_yaml("SOLVER.MAX_ITR", "1"),
        ("SOLVER.MAX_ITR",),
    ),
    Fault(
        "config",
        "misspelt argument of the model",
        lambda case: case.train("model.test_score_tresh=0.1"),
        ("test_score_tresh",),
    ),
    Fault(
        "config",
        "value out of range in YAML",
        lambda case: case.train_yaml("SOLVER.GRADIENT_ACCUMULATION", "0"),
        ("SOLVER.GRADIENT_ACCUMULATION",),
    ),
    Fault("config", "three images for two processes", _two_processes, ("2 processes", "3 images")),
    Fault(
        "config",
        "compiled head with checkpointing",
        lambda case: case.train("train.compile_head=True", "model.head.checkpoint=True"),
        ("train.compile_head",),
    ),
    *(
        Fault(
            "config",
            f"{name} that is not installed",
            lambda case, name=name, key=key: _without_package(case, name, key),
            (key, f"pip install {package}"),
        )
        for name, package, key in (
            ("wandb", "wandb", "train.wandb_project"),
            ("mlflow", "mlflow-skinny", "train.mlflow_experiment"),
        )
    ),
    Fault(
        "config",
        "model without classes",
        lambda case: case.registered(0),
        ("model.num_classes",),
    ),
    Fault(
        "config",
        "file in place of the output folder",
        lambda case: case.train(f"train.output_dir={_existing(case, 'file')[0]}"),
        ("file",),
    ),
    Fault(
        "config",
        "images in the output folder",
        lambda case: case.train(f"train.output_dir={case.folder / 'train'}"),
        ("train.output_dir", "dataset.train_images"),
    ),
    Fault(
        "config",
        "YAML key without a value",
        lambda case: case.train_yaml("SOLVER.MAX_ITER"),
        ("SOLVER.MAX_ITER",),
    ),
    Fault(
        "config",
        "text for a number in YAML",
        lambda case: case.train_yaml("SOLVER.MAX_ITER", "abc"),
        ("SOLVER.MAX_ITER", "abc"),
    ),
    _config("YAML with a number in base 60", "config.yaml", "SEED: 1" + ":59" * 40_000, "base 60"),
    Fault(
        "config",
        "named pipe",
        lambda case: case.plain("--config-file", _pipe(case, "config.yaml")),
        ("config.yaml", "--config-file"),
    ),
    Fault(
        "config",
        "output folder that cannot be made",
        lambda case: case.train("train.output_dir=/proc/nowhere"),
        ("/proc/nowhere",),
    ),
]

CHECKPOINTS = [
    Fault("checkpoint", name, prepare, words)
    for name, prepare, *words in (
        (
            "no file to start from",
            lambda case: case.train("train.init_checkpoint=nowhere.pth"),
            "nowhere.pth",
        ),
        (
            "no file to evaluate",
            lambda case: case.evaluate("nowhere.pth"),
            "nowhere.pth",
            "train.init_checkpoint",
        ),
        (
            "text to start from",
            lambda case: case.train(f"train.init_checkpoint={case.file('text.pth', 'text')}"),
            "text.pth",
        ),
        (
            "text to evaluate",
            lambda case: case.evaluate(case.file("text.pth", "text")),
            "text.pth",
        ),
        (
            "named pipe to start from",
            lambda case: case.train(f"train.init_checkpoint={_pipe(case, 'pipe.pth')}"),
            "pipe.pth",
            "train.init_checkpoint",
        ),
        (
            "named pipe to convert",
            lambda case: case.tool("convert_checkpoint", _pipe(case, "pipe.pth"), "b.pth"),
            "pipe.pth",
        ),
        ("of another model", _other_model, "other.pth", "does not fit"),
        ("truncated", _truncated_weights, "short.pth"),
        ("hostile .pth", lambda case: _hostile_weights(case, "evil.pth"), "evil.pth"),
        ("hostile .pkl", lambda case: _hostile_weights(case, "evil.pkl"), "evil.pkl"),
        (
            "weights alone to resume",
            _resume_weights,
            "model_final.pth",
            "lacks the state of training",
        ),
        ("all damaged", _damaged_run, "model_0000003.pth", "model_0000001.pth", "damaged"),
        (
            "unknown name",
            lambda case: case.evaluate("tood://tood_R_51"),
            "tood_R_51",
            "tood_R_50_FPN_1x",
        ),
    )
]

COMMANDS = [
    Fault("command line", name, prepare, words)
    for name, prepare, *words in (
        (
            "no process",
            lambda case: case.plain("--num-gpus", "0", "--config-file", SMALL),
            "--num-gpus 0",
        ),
        ("more GPUs than there are", _two_gpus, "--num-gpus 3", "has 2"),
        (
            "bad address",
            lambda case: case.plain("--num-gpus", "2", "--dist-url", "host"),
            "--dist-url host",
        ),
        (
            "several machines without an address",
            lambda case: case.plain("--num-machines", "2", "--dist-url", "auto"),
            "--dist-url auto",
        ),
        (
            "machine that is not there",
            lambda case: case.plain("--num-machines", "2", "--machine-rank", "2"),
            "--machine-rank 2",
        ),
        (
            "optimized training",
            lambda case: case.train(flags=["--optimize", "bfloat16"]),
            "--optimize",
            "--eval-only",
        ),
        (
            "evaluation of nothing",
            lambda case: case.train("train.init_checkpoint=", flags=["--eval-only"]),
            "train.init_checkpoint",
        ),
        ("unknown option", lambda case: case.plain("--evaluate"), "--evaluate"),
        (
            "other number than torchrun's",
            lambda case: _torchrun(case, "--num-gpus", "3"),
            "--num-gpus 3",
            "2 processes",
        ),
        (
            "srun with 3 tasks on 2 nodes",
            lambda case: _srun(case, SLURM_STEP_NUM_TASKS="3"),
            "3 processes",
            "--ntasks-per-node",
        ),
        (
            "srun's environment damaged",
            lambda case: _srun(case, SLURM_NODEID="first"),
            "SLURM_NODEID",
            "first",
        ),
    )
]

DEMO = [
    Fault(
        "demo",
        "no such input",
        lambda case: case.demo("--input", "nowhere/*.jpg"),
        ("nowhere/*.jpg",),
    ),
    Fault(
        "demo",
        "folder without images",
        lambda case: case.demo("--input", os.path.dirname(case.file("empty/x.txt", ""))),
        ("empty",),
    ),
    Fault(
        "demo",
        "no weights",
        lambda case: Command([*case.demo().argv, "train.init_checkpoint="]),
        ("train.init_checkpoint",),
    ),
    Fault("demo", "broken image", _broken_demo_image, ("broken.jpg", "skipped"), status=1),
    Fault(
        "demo",
        "threshold that is text",
        lambda case: case.demo("--confidence-threshold", "high"),
        ("--confidence-threshold", "high"),
    ),
    Fault(
        "demo",
        "threshold above 1",
        lambda case: case.demo("--confidence-threshold", "30"),
        ("--confidence-threshold", "30"),
    ),
    Fault(
        "demo",
        "file in place of the output folder",
        lambda case: (_existing(case, "out"), case.demo())[1],
        ("out",),
    ),
]

TOOLS = [
    Fault("tool", name, prepare, words, status)
    for name, prepare, words, status in (
        (
            "dataset.py: not JSON",
            lambda case: case.tool("dataset", "check", case.file("a.json", "{"), case.folder),
            ("a.json", "not JSON"),
            2,
        ),
        (
            "dataset.py: nested 100 000 times",
            lambda case: case.tool(
                "dataset", "check", case.file("a.json", "[" * 100_000), case.folder
            ),
            ("a.json",),
            2,
        ),
        (
            "dataset.py: missing images",
            lambda case: (
                case.image.unlink(),
                case.tool("dataset", "check", case.json, case.folder / "train"),
            )[1],
            ("000001.png",),
            1,
        ),
        (
            "dataset.py: no such VOC folder",
            lambda case: case.tool("dataset", "convert", "voc", "nowhere", case.folder),
            ("nowhere",),
            2,
        ),
        (
            "dataset.py: no images to show",
            lambda case: case.tool(
                "dataset", "show", case.json, case.folder / "train", "--num-images", 0
            ),
            ("--num-images",),
            2,
        ),
        (
            "convert_checkpoint.py: text",
            lambda case: case.tool("convert_checkpoint", case.file("a.pth", "text"), "b.pth"),
            ("a.pth",),
            2,
        ),
        (
            "convert_checkpoint.py: hostile",
            lambda case: case.tool(
                "convert_checkpoint", case.file("a.pth", pickle.dumps(_Hostile())), "b.pth"
            ),
            ("a.pth",),
            2,
        ),
        (
            "convert_checkpoint.py: other config",
            lambda case: case.tool(
                "convert_checkpoint", small_weights(), "b.pth", "--config-file", SMALL
            ),
            ("model.pth", "cls_logits"),
            2,
        ),
        (
            "benchmark.py: no such device",
            lambda case: case.tool("benchmark", "inference", SMALL, "--device", "tpu"),
            ("--device", "tpu"),
            2,
        ),
        (
            "benchmark.py: size of one number",
            lambda case: case.tool("benchmark", "inference", SMALL, "--sizes", "800"),
            ("800", "HEIGHTxWIDTH"),
            2,
        ),
        (
            "benchmark.py: no such config",
            lambda case: case.tool("benchmark", "inference", "nowhere.py"),
            ("nowhere.py",),
            2,
        ),
        (
            "report_runs.py: no run",
            lambda case: case.tool("report_runs", case.folder),
            ("metrics.json",),
            2,
        ),
        ("report_runs.py: AP too low", _low_ap, ("12.0", "50"), 1),
        (
            "make_shapes.py: folder with something else",
            lambda case: case.tool("make_shapes", case.folder),
            ("already exists",),
            2,
        ),
        (
            "make_shapes.py: no images",
            lambda case: case.tool("make_shapes", "new", "--num-train", 0),
            ("0",),
            2,
        ),
        (
            "count_flops.py: no such model",
            lambda case: case.tool("count_flops", "nowhere"),
            ("nowhere",),
            2,
        ),
        (
            "analyze_alignment.py: no such config",
            lambda case: case.tool("analyze_alignment", "--config-file", "nowhere.py"),
            ("nowhere.py",),
            2,
        ),
        (
            "visualize_alignment.py: no such config",
            lambda case: case.tool("visualize_alignment", "--config-file", "nowhere.py"),
            ("nowhere.py",),
            2,
        ),
        (
            "check_reference.py: no such folder",
            lambda case: case.tool("check_reference", "nowhere"),
            ("nowhere",),
            2,
        ),
    )
]

ENVIRONMENTS = [
    Fault("environment", "full disk", _full_disk, ("No space left", "out"), starts=True),
    Fault("environment", "no GPU", _no_gpu, ("No GPU available",), status=0),
]

FAULTS = [
    *IMAGES,
    *ANNOTATIONS,
    *CONFIGS,
    *CHECKPOINTS,
    *COMMANDS,
    *DEMO,
    *TOOLS,
    *ENVIRONMENTS,
]


def problems(fault: Fault, outcome: Outcome, folder: Path) -> list[str]:
    """What is not as expected."""
    message = outcome.messages[0] if fault.status == 2 and outcome.messages else outcome.output
    checks = {
        f"status {outcome.status}": outcome.status == fault.status,
        f"{len(outcome.messages)} messages": fault.status != 2 or len(outcome.messages) == 1,
        "traceback": "Traceback" not in outcome.output,
        "executed": not (folder / HACKED).exists(),
        "training": (STARTED in outcome.output) == fault.starts,
    }
    checks |= {f"without {word!r}": word in message for word in fault.words}
    return [name for name, fulfilled in checks.items() if not fulfilled]


def examine(fault: Fault, folder: Path, shapes: Path) -> tuple[Outcome, list[str]]:
    """Runs a fault in a new folder and returns what came out and what is wrong with it."""
    case = Case(folder, shapes)
    outcome = run(fault.prepare(case), folder)
    return outcome, problems(fault, outcome, folder)


def shown(fault: Fault, outcome: Outcome, folder: Path) -> str:
    """The line that names the fault, without what differs from run to run."""
    lines = outcome.messages or [""]
    if fault.status < 2 and fault.words:
        lines = [x for x in outcome.output.splitlines() if fault.words[0] in x] or [""]
    text = re.sub(r"\x1b\[\d+m", "", lines[-1].replace(f"{folder}/", ""))
    return text.replace("|", "\\|")


def main() -> int:
    rows, failed = [], 0
    with tempfile.TemporaryDirectory() as scratch:
        shapes = Path(scratch, "shapes")
        make_shapes(shapes, num_train=8, num_val=3, seed=0)
        for i, fault in enumerate(tqdm(FAULTS, unit="fault", disable=None)):
            folder = Path(scratch, str(i))
            outcome, wrong = examine(fault, folder, shapes)
            failed += bool(wrong)
            remark = f" **({', '.join(wrong)})**" if wrong else ""
            message = shown(fault, outcome, folder) + remark
            rows.append([f"{fault.kind}: {fault.name}", message, outcome.status])
    print(tabulate(rows, ["fault", "message", "exit status"], tablefmt="pipe"))
    print(f"\n{len(FAULTS)} faults, {failed} not as they should be")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

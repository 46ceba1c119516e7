"""train_net.py from end to end, on a few images and iterations."""

import copy
import json
import shutil
from argparse import Namespace
from pathlib import Path

import pytest
import torch
from torch import nn
from torch._dynamo.utils import counters

from detectron2.data import MetadataCatalog
from detectron2.structures import Boxes, Instances
from tood_d2.config import Options, load_run
from tood_d2.data import register_coco_json
from tood_d2.engine import Trainer
from tood_d2.engine.step import AccumulatingTrainer
from tood_d2.engine.trainer import prepare_model
from tood_d2.inference import Predictor
from tood_d2.inference.augmentation import DenseDetectorWithTTA
from tood_d2.modeling import TaskAlignedHead

DETECTS = ["model.test_score_thresh=0.0"]  # something, if only a little
CHANNELS_LAST = torch.channels_last
CONFIGS = Path(__file__).resolve().parents[2] / "configs"


@pytest.fixture(scope="module")
def train_net(load_script):
    return load_script("train_net.py")


@pytest.fixture(scope="module")
def run(train_net):
    """Runs train_net.py's main with a config and overrides."""

    defaults = {"resume": False, "trust": [], "eval_only": False, "optimize": None, "tta": False}
    defaults |= {"ensemble": [], "exported": None, "predictions": None, "slice_size": None}

    def _run(config, *opts, **changes):
        path = config if Path(config).is_absolute() else str(CONFIGS / config)
        args = Namespace(config_file=path, opts=list(opts), **defaults | changes)
        return train_net.main(args)

    return _run


def metrics(folder):
    """{iteration: scalars} of the last line for each iteration."""
    lines = (Path(folder) / "metrics.json").read_text().splitlines()
    result = {}
    for line in map(json.loads, lines):
        result.setdefault(line["iteration"], {}).update(line)
    return result


@pytest.fixture(scope="module")
def trained(run, tiny_overrides, tmp_path_factory):
    """Output folder of four iterations, of which the first two are the initial phase."""
    folder = tmp_path_factory.mktemp("trained")
    run(
        "tood_R_18_FPN_small.py",
        *tiny_overrides,
        *DETECTS,
        "train.max_iter=4",
        "model.initial_phase_iters=2",
        f"train.output_dir={folder}",
    )
    return folder


def ap(folder):
    """AP of the last evaluation of a training, which should be worth comparing."""
    value = max(metrics(folder).items())[1]["bbox/AP"]
    assert value > 0
    return value


def test_training_writes_what_people_look_for(trained):
    written = metrics(trained)
    assert set(written) == {0, 1, 2, 3, 4}
    for iteration in range(4):
        scalars = written[iteration]
        assert scalars["loss_cls"] > 0 and scalars["loss_box_reg"] > 0
        assert scalars["[metric] initial_phase"] == (iteration < 2)
        assert scalars["[metric] num_pos_anchors"] > 0
        assert scalars["lr"] > 0
    assert "bbox/AP" in written[4]
    assert list(trained.glob("events.out.tfevents.*"))
    assert (trained / "model_final.pth").is_file()
    log = (trained / "log.txt").read_text()
    assert "Iteration 0: initial phase (ATSS assignment) until iteration 2." in log
    assert "Iteration 2: task alignment learning." in log


def test_the_written_config_serves_the_predictor(trained, shapes):
    weights = f"train.init_checkpoint={trained}/model_final.pth"
    predictor = Predictor(load_run(str(trained / "config.yaml"), [weights]))
    with open(shapes / "val.json") as f:
        categories = json.load(f)["categories"]
    assert predictor.class_names == [c["name"] for c in sorted(categories, key=lambda c: c["id"])]
    image = torch.randint(0, 255, (70, 90, 3), dtype=torch.uint8).numpy()
    predictor.model.test_score_thresh = 0.0
    instances = predictor(image)["instances"]
    assert instances.image_size == (70, 90)
    assert 0 < len(instances) <= 100
    assert predictor.model.training is False


def test_resume_continues_in_the_phase_that_it_left(run, tiny_overrides, tmp_path):
    overrides = [*tiny_overrides, "model.initial_phase_iters=3", f"train.output_dir={tmp_path}"]
    run("tood_R_18_FPN_small.py", *overrides, "train.max_iter=2")
    run("tood_R_18_FPN_small.py", *overrides, "train.max_iter=4", resume=True)
    assert "Starting training from iteration 2" in (tmp_path / "log.txt").read_text()
    phases = {
        iteration: scalars["[metric] initial_phase"]
        for iteration, scalars in metrics(tmp_path).items()
        if "loss_cls" in scalars
    }
    assert phases == {0: 1, 1: 1, 2: 1, 3: 0}


def test_evaluation_repeats_the_result_of_training(run, trained, tiny_overrides, tmp_path):
    results = run(
        "tood_R_18_FPN_small.py",
        *tiny_overrides,
        *DETECTS,
        f"train.init_checkpoint={trained}/model_final.pth",
        f"train.output_dir={tmp_path}",
        eval_only=True,
    )
    assert results["bbox"]["AP"] == pytest.approx(ap(trained))


def test_evaluation_of_the_optimized_model(run, trained, tiny_overrides, tmp_path):
    results = run(
        "tood_R_18_FPN_small.py",
        *tiny_overrides,
        *DETECTS,
        f"train.init_checkpoint={trained}/model_final.pth",
        f"train.output_dir={tmp_path}",
        eval_only=True,
        optimize="bfloat16",
    )
    assert results["bbox"]["AP"] == pytest.approx(ap(trained), rel=0.5)  # of a few detections


@pytest.mark.parametrize("tta", [False, True])
def test_evaluation_with_test_time_augmentation(
    run, trained, tiny_overrides, tmp_path, monkeypatch, tta
):
    """Each of the three images is seen at three sizes, flipped and not."""
    seen, forward = [], DenseDetectorWithTTA.forward
    monkeypatch.setattr(
        DenseDetectorWithTTA, "forward", lambda self, x: seen.append(len(x)) or forward(self, x)
    )
    results = run(
        "tood_R_18_FPN_small.py",
        *tiny_overrides,
        f"train.init_checkpoint={trained}/model_final.pth",
        f"train.output_dir={tmp_path}",
        eval_only=True,
        tta=tta,
    )
    assert "bbox" in results and len(seen) == (3 if tta else 0)


def test_evaluation_of_a_model_and_its_copy(run, trained, tiny_overrides, tmp_path):
    """Each is found twice, and NMS keeps one."""
    results = [
        run(
            "tood_R_18_FPN_small.py",
            *tiny_overrides,
            *DETECTS,
            f"train.init_checkpoint={trained}/model_final.pth",
            f"train.output_dir={tmp_path}",
            eval_only=True,
            ensemble=[*map(str, others)],
        )
        for others in ([], [trained])
    ]
    assert results[0]["bbox"]["AP"] > 0
    assert results[1]["bbox"] == pytest.approx(results[0]["bbox"], nan_ok=True)


@pytest.mark.parametrize("size, number", [(None, 0), (1000, 1), (200, 5)])
def test_evaluation_in_slices(run, trained, tiny_overrides, tmp_path, monkeypatch, size, number):
    """An image of 320 x 240 px has two by two slices of 200 px, and is seen whole, too."""
    if size:
        slicing = pytest.importorskip("tood_d2.inference.slicing")
        seen, infer = [], slicing.SlicedModel.perform_inference
        monkeypatch.setattr(
            slicing.SlicedModel,
            "perform_inference",
            lambda self, image: seen.append(image.shape) or infer(self, image),
        )
    results = run(
        "tood_R_18_FPN_small.py",
        *tiny_overrides,
        f"train.init_checkpoint={trained}/model_final.pth",
        f"train.output_dir={tmp_path}",
        eval_only=True,
        slice_size=size,
    )
    assert "bbox" in results
    assert len(seen if size else []) == 3 * number


def test_only_evaluation_is_optimized(train_net, capsys):
    assert train_net.parse_args([]).optimize is None
    args = train_net.parse_args(["--eval-only", "--optimize", "bfloat16", "SEED", "1"])
    assert args.optimize == "bfloat16" and args.opts == ["SEED", "1"]
    for wrong, message in [
        (
            ["--optimize", "bfloat16"],
            "--optimize, --tta, --ensemble, --exported and --slice-size go with",
        ),
        (["--tta"], "--optimize, --tta, --ensemble, --exported and --slice-size go with"),
        (["--ensemble", "a"], "--optimize, --tta, --ensemble, --exported and --slice-size go with"),
        (
            ["--slice-size", "64"],
            "--optimize, --tta, --ensemble, --exported and --slice-size go with",
        ),
        (["--eval-only", "--ensemble", "a", "--resume"], "go without --resume"),
        (["--eval-only", "--slice-size", "64", "--resume"], "go without --resume"),
        (["--eval-only", "--slice-size", "31"], "--slice-size 31: should be at least 32"),
        (["--eval-only", "--optimize", "float64"], "choose from"),
    ]:
        with pytest.raises(SystemExit):
            train_net.parse_args(wrong)
        assert message in capsys.readouterr().err.splitlines()[-1]


def test_evaluation_of_the_last_checkpoint(run, trained, tiny_overrides, tmp_path):
    options = [*tiny_overrides, f"train.output_dir={tmp_path}"]
    with pytest.raises(ValueError, match="train.init_checkpoint"):
        run("tood_R_18_FPN_small.py", *options, resume=True, eval_only=True)
    shutil.copy(trained / "model_final.pth", tmp_path)
    (tmp_path / "last_checkpoint").write_text("model_final.pth")
    results = run("tood_R_18_FPN_small.py", *options, *DETECTS, resume=True, eval_only=True)
    assert results["bbox"]["AP"] == pytest.approx(ap(trained))


def test_evaluation_needs_complete_weights(run, trained, tiny_overrides, tmp_path):
    weights = torch.load(trained / "model_final.pth", weights_only=True)["model"]
    del weights["head.scales.1"]
    weights["head.cls_logits.bias"] = torch.zeros(77)
    torch.save({"model": weights}, tmp_path / "weights.pth")
    options = [*tiny_overrides, f"train.output_dir={tmp_path}"]
    with pytest.raises(ValueError, match=r"weights.pth.*head.scales.1.*head.cls_logits.bias"):
        run(
            "tood_R_18_FPN_small.py",
            *options,
            f"train.init_checkpoint={tmp_path}/weights.pth",
            eval_only=True,
        )
    with pytest.raises(FileNotFoundError, match="nowhere.pth"):
        run(
            "tood_R_18_FPN_small.py",
            *options,
            f"train.init_checkpoint={tmp_path}/nowhere.pth",
            eval_only=True,
        )
    with pytest.raises(ValueError, match="train.init_checkpoint"):
        run("tood_R_18_FPN_small.py", *options, eval_only=True)


@pytest.fixture(scope="module")
def yaml_opts(shapes):
    """Overrides that make the YAML R-50 model a tiny one on the generated images."""
    names = []
    for split in ("train", "val"):
        register_coco_json(f"{shapes}/{split}.json", f"{shapes}/{split}")
        names.append(f"{shapes}/{split}.json")
    num_classes = len(MetadataCatalog.get(names[0]).thing_classes)
    options = {
        "DATASETS.TRAIN": (names[0],),
        "DATASETS.TEST": (names[1],),
        "MODEL.WEIGHTS": "",
        "MODEL.DEVICE": "cpu",
        "MODEL.BACKBONE.FREEZE_AT": 0,
        "MODEL.RESNETS.DEPTH": 18,
        "MODEL.RESNETS.NORM": "BN",
        "MODEL.FPN.OUT_CHANNELS": 64,
        "MODEL.TOOD.CONV_DIM": 64,
        "MODEL.TOOD.NUM_CLASSES": num_classes,
        "MODEL.TOOD.INITIAL_PHASE.ITERS": 1,
        "INPUT.MIN_SIZE_TRAIN": (96,),
        "INPUT.MIN_SIZE_TEST": 96,
        "DATALOADER.NUM_WORKERS": 0,
        "SOLVER.IMS_PER_BATCH": 2,
        "SOLVER.MAX_ITER": 3,
        "SOLVER.STEPS": (2,),
        "SEED": 0,
    }
    return [x for key, value in options.items() for x in (key, value)]


def test_yaml_config_trains_and_evaluates(run, yaml_opts, tmp_path):
    detects = ["MODEL.TOOD.SCORE_THRESH_TEST", 0.0]
    run("tood_R_50_FPN_1x.yaml", *yaml_opts, *detects, "OUTPUT_DIR", str(tmp_path))
    written = metrics(tmp_path)
    assert "bbox/AP" in written[3]
    detections = json.loads((tmp_path / "inference" / "coco_instances_results.json").read_text())
    assert written[2]["[metric] initial_phase"] == 0
    assert "Iteration 1: task alignment learning." in (tmp_path / "log.txt").read_text()

    weights = str(tmp_path / "model_final.pth")
    options = ["MODEL.WEIGHTS", weights, "OUTPUT_DIR", str(tmp_path / "again")]
    run(str(tmp_path / "config.yaml"), *options, eval_only=True)
    again = tmp_path / "again" / "inference" / "coco_instances_results.json"
    assert json.loads(again.read_text()) == detections and len(detections) == 3 * 100
    predictor = Predictor(load_run(str(tmp_path / "config.yaml"), ["MODEL.WEIGHTS", weights]))
    assert len(predictor.class_names) == predictor.model.num_classes


def test_images_without_boxes_can_be_trained_on(run, tiny_overrides, shapes, tmp_path):
    with open(shapes / "train.json") as f:
        content = json.load(f)
    content["annotations"] = []
    (tmp_path / "empty.json").write_text(json.dumps(content))
    run(
        "tood_R_18_FPN_small.py",
        *tiny_overrides,
        f"dataset.train_json={tmp_path}/empty.json",
        "dataloader.train.dataset.filter_empty=False",
        "model.initial_phase_iters=1",
        "train.max_iter=2",
        f"train.output_dir={tmp_path}",
    )
    for iteration in (0, 1):
        scalars = metrics(tmp_path)[iteration]
        assert scalars["[metric] num_pos_anchors"] == 0
        assert scalars["loss_box_reg"] == 0
        assert 0 < scalars["loss_cls"] < float("inf")


@pytest.fixture(params=["py", "yaml"])
def run_with_everything(request, run, tiny_overrides, yaml_opts, tmp_path):
    """Trains a config of either kind for so many iterations with all that is optional."""
    if request.param == "py":
        config, length = "tood_R_18_FPN_small.py", "train.max_iter={}"
        overrides = [
            *tiny_overrides,
            "model.initial_phase_iters=1",
            "model.test_score_thresh=0.0",
            "train.gradient_accumulation=2",
            "train.channels_last=True",
            "train.ema.enabled=True",
            "train.validation_loss=True",
            "train.num_pictures=1",
            "train.eval_period=2",
            f"train.output_dir={tmp_path}",
        ]
    else:
        config, length = "tood_R_50_FPN_1x.yaml", "SOLVER.MAX_ITER {}"
        options = {
            "MODEL.TOOD.SCORE_THRESH_TEST": 0.0,
            "SOLVER.GRADIENT_ACCUMULATION": 2,
            "SOLVER.CHANNELS_LAST": True,
            "SOLVER.EMA.ENABLED": True,
            "TEST.VALIDATION_LOSS": True,
            "TEST.NUM_PICTURES": 1,
            "TEST.EVAL_PERIOD": 2,
            "OUTPUT_DIR": str(tmp_path),
        }
        overrides = [*yaml_opts, *(x for item in options.items() for x in item)]

    def _run(max_iter, **kwargs):
        run(config, *overrides, *length.format(max_iter).split(), **kwargs)
        return tmp_path

    return _run


def test_everything_at_once_and_resumed(run_with_everything):
    folder = run_with_everything(4)
    files = ["model_best.pth", "model_final.pth", "model_final_ema.pth"]
    for file in files:
        assert (folder / file).is_file()
    assert list(folder.glob("events.out.tfevents.*"))

    run_with_everything(6, resume=True)
    assert (folder / "last_checkpoint").read_text() == "model_final.pth"
    checkpoint = torch.load(folder / "model_final.pth", weights_only=True)
    assert checkpoint["iteration"] == 5 and checkpoint["ema"]["n_averaged"] == 6
    averages = torch.load(folder / "model_final_ema.pth", weights_only=True)["model"]
    assert averages.keys() == checkpoint["model"].keys()
    for weights in (averages, checkpoint["model"]):
        assert all(x.is_contiguous(memory_format=CHANNELS_LAST) for x in kernels(weights))
    for name, average in averages.items():
        assert torch.equal(average, checkpoint["ema"][f"module.{name}"])

    written, values = metrics(folder), []
    for iteration in (1, 4, 6):  # the evaluation within the first run, and those at the ends
        scalars = written[iteration]
        losses = scalars["validation/loss_cls"] + scalars["validation/loss_box_reg"]
        assert scalars["validation/total_loss"] == pytest.approx(losses)
        assert "bbox/AP" in scalars
        values.append(scalars["ema/bbox/AP"])
    best = torch.load(folder / "model_best.pth", weights_only=True)
    assert best["metric"] == "ema/bbox/AP" and best["best"] == max(values)
    assert best["iteration"] == (1, 4, 6)[values.index(max(values))]


def kernels(weights):
    return [x for x in weights.values() if x.ndim == 4]


def test_channels_last(run, trained, tiny_overrides, tmp_path, monkeypatch):
    monkeypatch.setattr(Trainer, "test", lambda *args: {})
    run(
        "tood_R_18_FPN_small.py",
        *tiny_overrides,
        "train.channels_last=False",
        "model.initial_phase_iters=2",
        "train.max_iter=1",
        f"train.output_dir={tmp_path}",
    )
    actual, expected = metrics(tmp_path)[0], metrics(trained)[0]
    for name in ("loss_cls", "loss_box_reg"):
        assert actual[name] == pytest.approx(expected[name], rel=1e-4)
    for folder, channels_last in ((trained, True), (tmp_path, False)):
        weights = torch.load(folder / "model_final.pth", weights_only=True)["model"]
        formats = [x.is_contiguous(memory_format=CHANNELS_LAST) for x in kernels(weights)]
        assert all(formats) == channels_last


def test_the_head_is_compiled(run, tiny_overrides, tmp_path, monkeypatch):
    """But not that of the average, which only evaluates."""
    calls = []
    monkeypatch.setattr(nn.Module, "compile", lambda self, **kwargs: calls.append((self, kwargs)))
    monkeypatch.setattr(Trainer, "test", lambda *args: {})
    run(
        "tood_R_18_FPN_small.py",
        *tiny_overrides,
        "train.compile_head=True",
        "train.ema.enabled=True",
        "train.max_iter=1",
        f"train.output_dir={tmp_path}",
    )
    ((module, settings),) = calls
    assert isinstance(module, TaskAlignedHead) and module.training
    assert settings["dynamic"] is True


def test_models_whose_head_cannot_be_compiled(tiny_tood):
    for model in (nn.Linear(1, 1), tiny_tood(head={"checkpoint": True})):
        with pytest.raises(ValueError, match="train.compile_head or SOLVER.COMPILE_HEAD"):
            prepare_model(model, Options(compile_head=True))


@pytest.mark.slow
def test_a_compiled_head_trains_alike(tiny_tood):
    """Both phases; compiled once for images of one size, and for another size once again."""
    batches = []
    for height, width in ((64, 96), (64, 96), (96, 128), (64, 96)):
        instances = Instances((height, width))
        instances.gt_boxes = Boxes(torch.tensor([[4.0, 5.0, 50.0, 60.0]]))
        instances.gt_classes = torch.tensor([1])
        image = torch.randint(256, (3, height, width), dtype=torch.uint8)
        batches.append([{"image": image, "instances": instances}])

    num_graphs = []

    def train(model, **options):
        torch._dynamo.reset()
        counters.clear()
        names = list(model.state_dict())
        prepare_model(model, Options(**options))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
        trainer = AccumulatingTrainer(model, batches, optimizer)
        for iteration in range(len(batches)):
            trainer.train(iteration, iteration + 1)
            num_graphs.append(counters["stats"]["unique_graphs"])
        assert list(model.state_dict()) == names
        history = {x: trainer.storage.history(x).values() for x in ("loss_cls", "loss_box_reg")}
        return {name: [value for value, _ in values] for name, values in history.items()}

    model = tiny_tood(strides=(8, 16))
    losses = train(copy.deepcopy(model), compile_head=True)
    expected = train(model)
    assert num_graphs == [1, 1, 2, 2] + [0] * 4
    for name, values in expected.items():
        assert losses[name] == pytest.approx(values, rel=1e-4)


def test_early_stopping_leaves_the_final_weights(run, tiny_overrides, tmp_path, monkeypatch):
    results = {"bbox": {"AP": 1.0}}
    monkeypatch.setattr(Trainer, "test", lambda *args: results)
    run(
        "tood_R_18_FPN_small.py",
        *tiny_overrides,
        "train.eval_period=1",
        "train.early_stopping=2",
        "train.max_iter=9",
        f"train.output_dir={tmp_path}",
    )
    # The best is that of iteration 0; no better one after 1 and 2.
    checkpoint = torch.load(tmp_path / "model_final.pth", weights_only=True)
    assert checkpoint["iteration"] == checkpoint["trainer"]["iteration"] == 2
    assert (tmp_path / "last_checkpoint").read_text() == "model_final.pth"
    assert metrics(tmp_path)[2]["bbox/AP"] == 1
    assert "training ends at 2" in (tmp_path / "log.txt").read_text()

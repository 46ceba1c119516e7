"""Training that is logged by the real wandb, which is told to stay offline."""

import json
import struct

import pytest
from script_runs import ROOT, Command, run

from tood_d2.config import load_run
from tood_d2.engine.hooks.evaluation import StopTraining
from tood_d2.integrations.wandb import WandbWriter

wandb = pytest.importorskip("wandb")
from wandb.proto.wandb_internal_pb2 import Record  # noqa: E402

SMALL = str(ROOT / "configs" / "tood_R_18_FPN_small.py")
BLOCK, LAST_PARTS = 32768, (1, 4)


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    for name in ("WANDB_DIR", "WANDB_PROJECT"):
        monkeypatch.delenv(name, raising=False)
    values = {"WANDB_MODE": "offline", "WANDB_CONSOLE": "off", "WANDB_SILENT": "true"}
    for name, value in values.items():
        monkeypatch.setenv(name, value)


def read_records(folder):
    """The records of the only run in an output folder, in the frames of LevelDB's log format."""
    wandb.teardown()  # the service that wrote them
    (path,) = folder.glob("wandb/offline-run-*/run-*.wandb")
    content, record = path.read_bytes(), b""
    assert content[:4] == b":W&B"
    position = 7
    while position < len(content):
        left = BLOCK - position % BLOCK
        if left >= 7:  # a frame begins: checksum, length, which part of a record it is
            _, size, part = struct.unpack_from("<IHB", content, position)
            record += content[position + 7 : position + 7 + size]
            if part in LAST_PARTS:
                yield Record.FromString(record)
                record = b""
            left = 7 + size
        position += left


def values(items):
    return {x.key or "/".join(x.nested_key): json.loads(x.value_json) for x in items}


@pytest.mark.slow
def test_a_run_has_losses_results_and_config(tiny_overrides, tmp_path):
    options = [
        "model.test_score_thresh=0.0",
        "train.wandb_project=shapes",
        "train.max_iter=3",
        "train.num_pictures=1",
        f"train.output_dir={tmp_path}/out",
    ]
    argv = ["train_net.py", "--config-file", SMALL, *tiny_overrides, *options]
    assert run(Command(argv), tmp_path).status == 0
    records = [*read_records(tmp_path / "out")]
    (begun,) = (x.run for x in records if x.HasField("run"))
    assert begun.project == "shapes"
    config = values(begun.config.update)
    assert config["train.max_iter"] == 3 and config["optimizer.lr"] > 0
    assert config["dataset.class_names"] == ["circle", "rectangle", "triangle", "star"]
    assert "wandb_project: shapes" in config["config"]
    assert len(config["config"]) < 20_000  # the model is not in it

    logged = {}
    for x in (values(x.history.item) for x in records if x.HasField("history")):
        logged.setdefault(x["global_step"], {}).update(x)
    lines = map(json.loads, (tmp_path / "out" / "metrics.json").read_text().splitlines())
    expected = {}
    for x in lines:
        expected.setdefault(x["iteration"], {}).update(x)
    assert {0, 1, 2} <= logged.keys()
    for step in (0, 1, 2):
        assert logged[step]["total_loss"] == pytest.approx(expected[step]["total_loss"])
    final = max(expected)
    assert expected[final]["bbox/AP"] > 0
    assert logged[final]["bbox/AP"] == pytest.approx(expected[final]["bbox/AP"])
    assert any(x.startswith("image ") for x in logged[final])
    assert [x.exit.exit_code for x in records if x.HasField("exit")] == [0]


@pytest.mark.parametrize(
    "error, code",
    [
        (StopTraining(), 0),
        (RuntimeError(), 1),
        (KeyboardInterrupt(), 1),
        (SystemExit(143), 143),  # as preempted training does
        (SystemExit(0), 0),
    ],
)
@pytest.mark.slow
def test_the_run_ends_as_training_does(tmp_path, error, code):
    options = ["train.wandb_project=shapes", f"train.output_dir={tmp_path}"]
    writer = WandbWriter(load_run(SMALL, options))
    with pytest.raises(type(error)):
        try:
            raise error
        finally:
            writer.close()
    assert [x.exit.exit_code for x in read_records(tmp_path) if x.HasField("exit")] == [code]


def test_without_an_account_training_does_not_start(tiny_overrides, tmp_path, monkeypatch):
    def refuse(**kwargs):
        raise wandb.errors.UsageError("No API key configured.\nUse `wandb login` to log in.")

    monkeypatch.setattr(wandb, "init", refuse)
    options = ["train.wandb_project=shapes", "train.max_iter=1", f"train.output_dir={tmp_path}/out"]
    argv = ["train_net.py", "--config-file", SMALL, *tiny_overrides, *options]
    outcome = run(Command(argv), tmp_path)
    assert outcome.status == 2 and "Starting training" not in outcome.output
    assert outcome.messages[-1] == (
        "train_net.py: train.wandb_project=shapes: No API key configured. (WANDB_MODE=offline logs "
        "without a connection)"
    )

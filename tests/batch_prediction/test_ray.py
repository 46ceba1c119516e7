"""Detection on a Ray cluster."""

import argparse
import itertools

import pytest

pytest.importorskip("pyarrow")
ray = pytest.importorskip("ray")
pytest.importorskip("ray.data")

from ray.cluster_utils import Cluster  # noqa: E402

from tood_d2.batch_prediction.job import Job, ResultFolder  # noqa: E402
from tood_d2.batch_prediction.ray_pool import detect_on_ray  # noqa: E402
from tood_d2.batch_prediction.sources import find_items  # noqa: E402
from tood_d2.data.shapes import make_shapes  # noqa: E402
from tood_d2.programs import predict_collection  # noqa: E402
from tood_d2.programs.predict import build_predictor  # noqa: E402

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """A folder with forty images."""
    folder = tmp_path_factory.mktemp("images")
    make_shapes(folder, num_train=1, num_val=40, seed=0)
    return folder / "val"


@pytest.fixture
def args(detecting_model, images, tmp_path, monkeypatch):
    """Arguments for the folder ``ray``, with results of one process in ``here``."""
    config = ["--config-file", detecting_model / "config.yaml"]
    opts = ["--opts", f"train.init_checkpoint={detecting_model}/model_final.pth"]

    def parse(output, *more) -> argparse.Namespace:
        argv = ["predict.py", "--input", images, "--output", tmp_path / output, "--shard-size", 2]
        monkeypatch.setattr("sys.argv", [*map(str, [*argv, *more, *config, *opts])])
        return predict_collection.parse_args()

    predict_collection.run(parse("here"))
    return parse


def rows(args):
    return [*ResultFolder(args.output).rows()]


def test_rows_are_those_of_one_process(args, monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:9")  # of another cluster, which is not asked for
    here, there = args("here"), args("ray", "--ray", "--workers", 2)
    predict_collection.run(there)
    assert rows(there) == rows(here) and len(rows(here)) == 40


def test_a_cluster_that_takes_only_who_has_its_token(args, monkeypatch):
    def init(address, **options):
        raise ConnectionError(f"Failed to connect to Ray cluster at {address}")

    monkeypatch.setattr("ray.init", init)
    with pytest.raises(ConnectionError, match="--ray 10.0.0.1:6379: Failed .* RAY_AUTH_TOKEN"):
        predict_collection.run(args("ray", "--ray", "10.0.0.1:6379"))


def test_a_machine_that_dies_loses_nothing(args):
    here, there = args("here"), args("ray")
    items = find_items(there.input)
    job, folder = Job.of(items, 2, {}), ResultFolder(there.output)
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    other = cluster.add_node(num_cpus=1)
    there.ray = cluster.address
    try:
        done = detect_on_ray(build_predictor, there, items, job, folder.prepare(job))
        numbers = [*itertools.islice(done, 3)]
        cluster.remove_node(other, allow_graceful=False)
        assert sum([*numbers, *done]) >= 40 - 4  # those that the other had told of may be lost
    finally:
        ray.shutdown()
        cluster.shutdown()
    assert rows(there) == rows(here)

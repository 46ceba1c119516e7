"""The manifests for Kubernetes: their schemas, and what schemas do not tell."""

import shlex
from pathlib import Path

import pytest
import yaml
from torch.distributed.run import get_args_parser

from tood_d2.cli.arguments import training_argument_parser
from tood_d2.programs import predict_collection

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "deploy" / "kubernetes"


def read(name):
    return [*yaml.safe_load_all((FOLDER / name).read_text())]


@pytest.fixture
def service_and_job():
    return read("train.yaml")


@pytest.fixture
def ray_job():
    (document,) = read("predict.yaml")
    return document


@pytest.fixture(scope="session")
def tool(load_script):
    pytest.importorskip("kubernetes_validate")
    return load_script("dev/validate_manifests.py")


def run(tool, monkeypatch, *argv):
    monkeypatch.setattr("sys.argv", ["validate_manifests.py", *map(str, argv)])
    return tool.main()


def test_the_manifests_are_as_kubernetes_has_them(tool, monkeypatch, capsys):
    assert run(tool, monkeypatch, *sorted(FOLDER.glob("*.yaml"))) == 0
    lines = capsys.readouterr().out.splitlines()
    kinds = [line.removeprefix(str(FOLDER)).split(": ", 1)[1] for line in lines]
    names = ["RayJob tood-predict", "Service tood-train", "Job tood-train"]
    assert kinds == [f"{name}: no fault" for name in names]


def test_faults_are_named(tool, service_and_job, ray_job):
    _, job = service_and_job
    job["spec"]["parallelism"] = "two"
    (fault,) = tool.find_faults(job)
    assert fault.startswith("spec.parallelism: 'two' is not of type 'integer'")
    worker = ray_job["spec"]["rayClusterSpec"]["workerGroupSpecs"][0]
    worker["template"]["spec"]["containers"][0]["images"] = "x"
    (fault,) = tool.find_faults(ray_job)
    place = "spec.rayClusterSpec.workerGroupSpecs.0.template.spec.containers.0: "
    assert fault.startswith(place) and "images" in fault


def test_other_kinds_by_their_definition(tool, ray_job, tmp_path, monkeypatch, capsys):
    cluster = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    limit = {"type": "integer", "minimum": 4}
    fields = {"entrypoint": {"type": "string"}, "backoffLimit": limit, "rayClusterSpec": cluster}
    spec = {"type": "object", "properties": fields}
    known = {"apiVersion": {"type": "string"}, "kind": {"type": "string"}, "spec": spec}
    schema = {"openAPIV3Schema": {"type": "object", "properties": known}}
    versions = [{"name": "v1alpha1", "schema": {}}, {"name": "v1", "schema": schema}]
    content = {"group": "ray.io", "names": {"kind": "RayJob"}, "versions": versions}
    (tmp_path / "crd.yaml").write_text(yaml.safe_dump({"spec": content}))
    assert run(tool, monkeypatch, FOLDER / "predict.yaml", "--crd", tmp_path / "crd.yaml") == 1
    faults = sorted(x.split(": ", 2)[2] for x in capsys.readouterr().out.splitlines())
    assert faults[0] == "spec.backoffLimit: 3 is less than the minimum of 4" and len(faults) == 2
    assert faults[1].startswith("spec: Additional properties are not allowed ('shutdownAfterJob")


def test_a_file_that_is_not_yaml(tool, monkeypatch, tmp_path, capsys):
    (tmp_path / "bad.yaml").write_text("a: [")
    with pytest.raises(SystemExit):
        run(tool, monkeypatch, tmp_path / "bad.yaml")
    assert "bad.yaml" in capsys.readouterr().err


def test_pods_find_each_other_and_the_service_finds_them(service_and_job):
    service, job = service_and_job
    name, pods = job["metadata"]["name"], job["spec"]["template"]["spec"]
    # The label that Kubernetes gives the pods of a job.
    assert service["spec"]["selector"] == {"job-name": name}
    assert service["spec"]["clusterIP"] == "None"
    assert pods["subdomain"] == service["metadata"]["name"]
    (container,) = pods["containers"]
    torchrun = get_args_parser().parse_args(container["args"])
    assert torchrun.rdzv_endpoint.split(":")[0] == f"{name}-0.{pods['subdomain']}"
    assert int(torchrun.nnodes) == job["spec"]["completions"] == job["spec"]["parallelism"]
    assert int(torchrun.nproc_per_node) == container["resources"]["limits"]["nvidia.com/gpu"]


def test_a_pod_has_time_to_save_and_memory_for_its_workers(service_and_job):
    _, job = service_and_job
    pods = job["spec"]["template"]["spec"]
    (container,) = pods["containers"]
    torchrun = get_args_parser().parse_args(container["args"])
    assert torchrun.shutdown_timeout < pods["terminationGracePeriodSeconds"]
    assert container["command"] == ["torchrun"]  # no shell, which would keep SIGTERM to itself
    places = {x["name"]: x["mountPath"] for x in container["volumeMounts"]}
    (memory,) = (x for x in pods["volumes"] if x.get("emptyDir", {}).get("medium") == "Memory")
    assert places[memory["name"]] == "/dev/shm"
    assert pods["restartPolicy"] == "Never"  # what backoffLimitPerIndex asks for


def test_train_net_takes_the_arguments(service_and_job):
    _, job = service_and_job
    (container,) = job["spec"]["template"]["spec"]["containers"]
    torchrun = get_args_parser().parse_args(container["args"])
    assert (ROOT / torchrun.training_script).is_file()
    args = training_argument_parser().parse_args(torchrun.training_script_args)
    assert (ROOT / args.config_file).is_file() and args.resume
    assert args.opts == ["train.output_dir=/data/output/r50"]


def test_predict_takes_the_arguments(ray_job, monkeypatch):
    program, *argv = shlex.split(ray_job["spec"]["entrypoint"])
    assert program == "python" and (ROOT / argv[0]).is_file()
    monkeypatch.setattr("sys.argv", argv)
    args = predict_collection.parse_args()
    cluster = ray_job["spec"]["rayClusterSpec"]
    (group,) = cluster["workerGroupSpecs"]
    (container,) = group["template"]["spec"]["containers"]
    cores = int(container["resources"]["limits"]["cpu"])
    assert (args.ray, args.workers) == ("auto", group["replicas"] * cores)
    assert f"ray=={cluster['rayVersion']}" in (ROOT / "constraints.txt").read_text().splitlines()

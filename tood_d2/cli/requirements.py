"""What the programs need to be installed, asked before they import it."""

import importlib
import importlib.util
import logging
import sys
from importlib import metadata

# The least versions of setup.py; docs/installation.md says which were run.
LEAST = {"torch": (2, 6), "torchvision": (0, 21)}
NEWEST_PYTHON = (3, 13)

logger = logging.getLogger("tood_d2")


class MissingRequirement(ImportError):
    """A package that is missing, too old or does not load, with what to do about it."""


def check_requirements() -> None:
    """Looks for PyTorch, torchvision, Detectron2 and OpenCV, without importing the slow ones.

    Raises:
        MissingRequirement: if one of them is missing or too old, or OpenCV does not load.
    """
    if sys.version_info[:2] > NEWEST_PYTHON:
        logger.warning(
            "Python %d.%d has not been tried with tood_d2, the newest that has is %d.%d.",
            *sys.version_info[:2],
            *NEWEST_PYTHON,
        )
    for package, least in LEAST.items():
        wanted = f"{package}>={'.'.join(map(str, least))}"
        try:
            version = metadata.version(package)
        except metadata.PackageNotFoundError:
            raise MissingRequirement(
                f"{package} is missing for {sys.executable}: pip install '{wanted}'"
            ) from None
        if tuple(map(int, version.split(".")[:2])) < least:
            raise MissingRequirement(f"{package} {version} is too old: pip install '{wanted}'")
    if importlib.util.find_spec("detectron2") is None:
        raise MissingRequirement(
            f"Detectron2 is missing for {sys.executable}: 'tood install-detectron2' installs it, "
            "without a compiler"
        )
    try:
        import cv2  # noqa: F401
    except ImportError as error:
        raise MissingRequirement(
            f"OpenCV does not load ({error}): pip install --force-reinstall --no-deps "
            "opencv-python-headless"
        ) from error


def check_sahi() -> None:
    """Raises MissingRequirement if SAHI, which slices images, is not installed."""
    _check_optional("sahi.slicing", "images are sliced by SAHI", "sahi")


def check_runtime(path: str) -> None:
    """Raises MissingRequirement if what runs an exported model is not installed.

    Args:
        path: of the model, whose suffix tells its runtime.
    """
    if path.endswith(".xml"):
        _check_optional("openvino", ".xml files are run by OpenVINO", "openvino")
    if path.endswith(".onnx"):
        _check_optional("onnxruntime", ".onnx files are run by ONNX Runtime", "onnxruntime")


def check_parquet() -> None:
    """Raises MissingRequirement if pyarrow, which writes Parquet files, is not installed."""
    _check_optional("pyarrow.parquet", "Parquet files are written by pyarrow", "pyarrow")


def check_ray() -> None:
    """Raises MissingRequirement if Ray Data is not installed."""
    _check_optional("ray.data", "clusters are run by Ray", "'ray[data]'")


def check_nncf() -> None:
    """Raises MissingRequirement if NNCF, which makes int8 models for OpenVINO, is not installed."""
    _check_optional("nncf", "int8 models are made by NNCF", "nncf")


def check_hub() -> None:
    """Raises MissingRequirement if what models are shared by is not installed."""
    _check_optional("huggingface_hub", "models are shared by huggingface_hub", "huggingface_hub")
    _check_optional("safetensors", "weights are shared in the form of safetensors", "safetensors")


def check_service() -> None:
    """Raises MissingRequirement if what serves models over HTTP is not installed."""
    for module in ("fastapi", "uvicorn", "python_multipart", "prometheus_client"):
        _check_optional(module, "models are served by FastAPI and uvicorn", "'tood_d2[serve]'")


def check_label_studio() -> None:
    """Raises MissingRequirement if Label Studio's package for backends is not installed."""
    source = "git+https://github.com/HumanSignal/label-studio-ml-backend.git"
    _check_optional("label_studio_ml.api", "Label Studio is answered by label_studio_ml", source)


def check_wandb(key: str) -> None:
    """Raises MissingRequirement if wandb is not installed; the key of a config asks for it."""
    _check_optional("wandb", f"{key} logs by wandb", "wandb")


def check_mlflow(key: str) -> None:
    """Raises MissingRequirement if MLflow is not installed; the key of a config asks for it."""
    _check_optional("mlflow", f"{key} logs by MLflow", "mlflow-skinny")


def check_fiftyone() -> None:
    """Raises MissingRequirement if FiftyOne is not installed."""
    _check_optional("fiftyone", "data and detections are shown by FiftyOne", "fiftyone")


def _check_optional(module: str, purpose: str, package: str) -> None:
    try:
        importlib.import_module(module)
    except ImportError as error:
        raise MissingRequirement(
            f"{purpose}, which is missing ({error}): pip install {package}"
        ) from error

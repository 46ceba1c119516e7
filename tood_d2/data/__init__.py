"""Data in COCO's form: conversion, checks, registration, and batches to train on."""

import importlib

__all__ = [
    "CopyPaste",
    "DatasetMapper",
    "Mosaic",
    "build_test_loader",
    "build_train_loader",
    "get_training_dicts",
    "register_coco_json",
]


def __getattr__(name: str):
    """Imports PyTorch, which takes seconds, only for who uses it."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = ".coco.registration" if name == "register_coco_json" else ".loading"
    return getattr(importlib.import_module(module, __name__), name)


def __dir__() -> list[str]:
    """The names, also of what is imported only when it is used."""
    return sorted({*globals(), *__all__})

"""Evaluation on the test data of a LazyConfig."""

import os

from omegaconf import DictConfig, OmegaConf
from torch import nn

from detectron2.config import instantiate
from detectron2.evaluation import inference_on_dataset, print_csv_format
from detectron2.utils import comm


def evaluate(cfg: DictConfig, model: nn.Module, folder: str = "inference") -> dict:
    """Results of ``cfg.dataloader.evaluator``, ``{"bbox": {"AP": ...}}``, printed as well.

    Args:
        cfg: a LazyConfig.
        model: any detector.
        folder: that the evaluator writes to, in the output folder.

    Returns:
        The results in the main process, nothing in others.
    """
    evaluator = cfg.dataloader.evaluator
    if "output_dir" in evaluator:
        path = os.path.join(cfg.train.output_dir, folder)
        evaluator = OmegaConf.merge(evaluator, {"output_dir": path})
    results = inference_on_dataset(model, instantiate(cfg.dataloader.test), instantiate(evaluator))
    if comm.is_main_process():
        print_csv_format(results)
    return results

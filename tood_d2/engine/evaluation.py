"""Evaluation on the test data of a LazyConfig."""

from omegaconf import DictConfig
from torch import nn

from detectron2.config import instantiate
from detectron2.evaluation import inference_on_dataset, print_csv_format
from detectron2.utils import comm


def evaluate(cfg: DictConfig, model: nn.Module) -> dict:
    """Results of ``cfg.dataloader.evaluator``, ``{"bbox": {"AP": ...}}``, printed as well.

    Only the main process has them.
    """
    results = inference_on_dataset(
        model, instantiate(cfg.dataloader.test), instantiate(cfg.dataloader.evaluator)
    )
    if comm.is_main_process():
        print_csv_format(results)
    return results

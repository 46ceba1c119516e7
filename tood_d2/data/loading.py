"""Batches to train on."""

from collections.abc import Iterable

from detectron2.data import build_detection_train_loader
from detectron2.data.samplers import RepeatFactorTrainingSampler


def build_train_loader(
    dataset: list[dict], *, repeat_threshold: float = 0.0, **kwargs
) -> Iterable[list[dict]]:
    """Detectron2's loader, in which images with rare classes may come more often.

    Args:
        dataset: Detectron2's dataset dicts.
        repeat_threshold: fraction of the images below which a class is rare; 0 for none. An
            image with a class in a fraction f of them comes sqrt(threshold / f) times as often
            (arXiv 1908.03195, Appendix B.2).
        kwargs: see ``build_detection_train_loader``.
    """
    sampler = None
    if repeat_threshold > 0:
        repeats = RepeatFactorTrainingSampler.repeat_factors_from_category_frequency(
            dataset, repeat_threshold
        )
        sampler = RepeatFactorTrainingSampler(repeats)
    return build_detection_train_loader(dataset, sampler=sampler, **kwargs)

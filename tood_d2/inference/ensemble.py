"""Detection by several models, whose detections are merged."""

from collections.abc import Callable, Collection, Sequence

import numpy as np

from detectron2.modeling.postprocessing import detector_postprocess
from detectron2.structures import Instances

from ..config import Run
from ..data.images import read_image
from .merging import Merging, build_merging
from .predictor import ImagePredictor, Predictor
from .trained_models import find_trained_model


class EnsemblePredictor(ImagePredictor):
    """Detects with several predictors, used like one of them.

    Each prepares images in its own way. Classes are those of the first one, by their names.
    """

    def __init__(
        self,
        predictors: Sequence[ImagePredictor],
        merging: Merging,
        weights: Sequence[float] | None = None,
    ):
        """
        Args:
            predictors: one or more, with the same classes in any order.
            merging: of their detections.
            weights: of the predictors, positive; by default they are equal.

        Raises:
            ValueError: if the classes differ, or there is another number of weights.
        """
        vars(self).update(vars(predictors[0]))
        self.predictors, self.merging, self.weights = list(predictors), merging, weights
        check_weights(weights, len(predictors))
        self._classes = [match_classes(x.class_names, self.class_names) for x in predictors]

    def detect(self, images: Sequence[np.ndarray]) -> list[Instances]:
        found = []
        for predictor, classes in zip(self.predictors, self._classes, strict=True):
            found.append(predictor.detect(images))
            for instances in found[-1]:
                instances.pred_classes = instances.pred_classes.new_tensor(classes)[
                    instances.pred_classes
                ]
        return [self.merging(views, self.weights) for views in zip(*found, strict=True)]


def check_weights(weights: Sequence[float] | None, num_models: int) -> None:
    """Raises a ValueError unless there is a positive weight for each model, or none at all."""
    if weights and (len(weights) != num_models or not all(x > 0 for x in weights)):
        raise ValueError(
            f"the weights of the models should be {num_models} numbers above 0, not {weights}"
        )


def match_classes(names: Sequence[str], known: Sequence[str]) -> list[int]:
    """The position of each class in another list with the same classes.

    Raises:
        ValueError: if the lists have different classes, with their names.
    """
    if sorted(names) != sorted(known):
        missing, others = (
            [x for x in a if x not in b] for a, b in ((known, names), (names, known))
        )
        raise ValueError(
            "models can be merged if they have the same classes; missing here: "
            f"{', '.join(missing) or 'none'}, only here: {', '.join(others) or 'none'}"
        )
    return [list(known).index(x) for x in names]


def load_ensemble(
    run: Run,
    others: Sequence[str],
    *,
    optimize: str | None = None,
    tta: bool = False,
    trusted: Collection[str] = (),
) -> EnsemblePredictor:
    """Loads the model of a run and others, to be merged as the options of the run say.

    Args:
        run: of :func:`.load_run`; names the weights of the first model and the device of all.
        others: output folders of training, or files of weights in such folders.
        optimize, tta: of each model, see :func:`.load_detector`.
        trusted: packages of the user's, see :func:`.load_run`.

    Raises:
        OSError, ValueError: if a model cannot be loaded or has other classes, with its folder.
    """
    weights = list(run.options.merge_weights) or None
    check_weights(weights, len(others) + 1)
    models = [find_trained_model(path) for path in others]  # all, before any is loaded
    predictors = [Predictor(run, optimize=optimize, tta=tta)]
    for path, model in zip(others, models, strict=True):
        try:
            other = model.load_run(trusted).with_options(device=run.options.device)
            predictors.append(Predictor(other, optimize=optimize, tta=tta))
            match_classes(predictors[-1].class_names, predictors[0].class_names)
        except (TypeError, ValueError) as error:
            raise ValueError(f"--ensemble {path}: {error}") from error
    detector = predictors[0].model.model if tta else predictors[0].model
    return EnsemblePredictor(predictors, build_merging(run.options, detector), weights)


def as_model(predictor: ImagePredictor) -> Callable[[list[dict]], list[dict]]:
    """A predictor in the place of a model in evaluation.

    Returns:
        A function of N dicts with "file_name", "height" and "width" that reads the images, as those
        in "image" have been prepared for one model, and gives N dicts with "instances".
    """

    def detect(batched_inputs: list[dict]) -> list[dict]:
        found = predictor.detect([read_image(x["file_name"], "RGB") for x in batched_inputs])
        return [
            {"instances": detector_postprocess(x, sample["height"], sample["width"])}
            for x, sample in zip(found, batched_inputs, strict=True)
        ]

    return detect

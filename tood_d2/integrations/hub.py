"""Trained models, shared by the Hugging Face Hub (https://huggingface.co/models) or in a folder.

What is shared is a folder with ``config.yaml``, ``model.safetensors`` and a model card. Only the
first two are ever read, by the readers that all programs have for files from strangers. That is why
this is not huggingface_hub's ``ModelHubMixin``: it would pass whatever a stranger's ``config.json``
says to the constructor.
"""

import os
import tempfile
from collections.abc import Collection, Mapping, Sequence

import numpy as np
from PIL import Image

from ..checkpoint import save_weights
from ..checkpoint.atomic import atomic_write
from ..cli.messages import describe
from ..cli.outputs import check_folder, save_picture
from ..config import Run, load_run
from ..config.calls import foreign_packages
from ..config.yaml_file import MAX_BYTES, read_yaml
from ..data.images import read_image
from ..inference import Predictor, TrainedModel, find_trained_model, load_detector
from ..inference.drawing import draw_detections
from ..inference.image_files import find_images
from ..inference.trained_models import read_results
from .hub_client import download, explained, open_hub
from .model_card import check_license, model_card

CONFIG, WEIGHTS, CARD = "config.yaml", "model.safetensors", "README.md"
LIMITS = {CONFIG: MAX_BYTES, WEIGHTS: 8_000_000_000}
"""The files that are downloaded, and the most bytes that they may have."""

MAX_PICTURES = 4
MAX_SIDE = 1280  # of a picture, in pixels
MIN_SCORE = 0.3  # of a detection that is drawn


class PretrainedPredictor(Predictor):
    """A :class:`Predictor` that can be shared, and is made of what others shared.

    Attributes:
        results: what training measured, see :func:`.read_results`; they go into the model card.
    """

    def __init__(self, run: Run, *, results: Mapping[str, float] | None = None, **how):
        """
        Args:
            run: see :class:`Predictor`.
            results: see above.
            how: ``optimize`` and ``tta`` of :class:`Predictor`.
        """
        super().__init__(run, **how)
        self.results = results or {}

    @classmethod
    def from_training(
        cls, path: str | os.PathLike, *, trusted: Collection[str] = ()
    ) -> "PretrainedPredictor":
        """The model of a training's output folder; see :func:`.find_trained_model`."""
        model = find_trained_model(path)
        run = model.load_run(trusted)
        return cls(run, results=read_results(model, run))

    @classmethod
    def from_pretrained(
        cls,
        name: str | os.PathLike,
        *,
        revision: str | None = None,
        token: str | None = None,
        trusted: Collection[str] = (),
        **how,
    ) -> "PretrainedPredictor":
        """A model that was shared.

        Args:
            name: of a folder, or of a model on the Hub as "user/name".
            revision: branch, tag or commit of the Hub's repository.
            token: of a Hub's user; by default that of ``hf auth login`` or ``HF_TOKEN``.
            trusted: the model's packages that you trust, see :func:`.load_run`.
            how: ``optimize`` and ``tta`` of :class:`Predictor`.

        Raises:
            OSError: if it is not there or cannot be downloaded.
            ValueError: if a file is refused.
        """
        model = _find(os.fspath(name), revision, token)
        if "_BASE_" in read_yaml(model.config_file):
            raise ValueError(f"{model.config_file}: has a _BASE_, but a shared config stands alone")
        run = load_run(model.config_file, trusted=trusted)
        try:
            run = run.without_files()  # its data would be a stranger's paths on this machine
            key = run.key("class_names")
            if not all(isinstance(x, str) for x in run.options.class_names):
                raise ValueError(f"{key} should be texts")
            predictor = cls(run.with_options(init_checkpoint=model.weights), **how)
            number, names = getattr(predictor.model, "num_classes", 0), predictor.class_names
            if len(names) < number:
                raise ValueError(f"{key} has {len(names)} names for {number} classes")
        except Exception as error:  # of any kind, as the config may be anything
            text = describe(error)
            if not any(path in text for path in model):
                text = f"{model.config_file}: {text}"
            raise ValueError(text) from error
        return predictor

    def save_pretrained(
        self,
        folder: str | os.PathLike,
        *,
        repo_id: str = "",
        license: str = "",
        pictures: Sequence[str] = (),
    ) -> None:
        """Writes what is shared into a folder.

        Args:
            folder: new or empty.
            repo_id: name on the Hub, if it has one, for the model card.
            license: identifier of the model's licence, "" for none.
            pictures: image files and folders, the first of which are shown with detections.

        Raises:
            OSError, ValueError: if the folder is not empty, or an argument is wrong.
        """
        folder, license = os.path.abspath(folder), check_license(license)
        images = [read_image(x, "RGB") for x in find_images(pictures)[:MAX_PICTURES]]
        check_empty(folder)
        os.makedirs(folder, exist_ok=True)
        # The model as it was trained; the predictor's own may have been optimised.
        weights = load_detector(self.run).state_dict()
        save_weights(weights, os.path.join(folder, WEIGHTS))
        run = self.run.without_files().with_options(
            class_names=self.run.known_class_names, category_ids=self.category_ids, device="cuda"
        )
        config = os.path.join(folder, CONFIG)
        with atomic_write(config, "w") as file:
            file.write(run.dump())
        card = model_card(
            repo_id or os.path.basename(folder),
            self.run,
            self.results,
            license=license,
            pictures=[self._draw(x, folder, i) for i, x in enumerate(images, start=1)],
            packages=sorted(foreign_packages(read_yaml(config))),
        )
        card.save(os.path.join(folder, CARD))

    def _draw(self, image: np.ndarray, folder: str, number: int) -> str:
        """Draws detections into the folder; the name of the picture."""
        (found,) = self.detect([image])
        found = found[found.scores >= MIN_SCORE]
        picture = Image.fromarray(draw_detections(image, found, self.class_names).get_image())
        picture.thumbnail((MAX_SIDE, MAX_SIDE))
        name = f"detections_{number}.jpg"
        save_picture(np.asarray(picture), os.path.join(folder, name))
        return name

    def push_to_hub(
        self,
        repo_id: str,
        *,
        private: bool | None = None,
        token: str | None = None,
        commit_message: str = "Share a detector of tood_d2",
        license: str = "",
        pictures: Sequence[str] = (),
    ) -> str:
        """Uploads what :meth:`save_pretrained` writes, in one commit.

        Args:
            repo_id: "user/name" or "name"; it is made if it is not there.
            private: whether others see it, when it is made; None for the account's default.
            token: see :meth:`from_pretrained`.
            commit_message: of the commit. Files of earlier ones stay in the history.
            license, pictures: see :meth:`save_pretrained`.

        Returns:
            The address of the model's page.

        Raises:
            OSError, ValueError: if the Hub refuses or cannot be reached, or an argument is wrong.
        """
        api, repo_id = open_hub(repo_id, token)
        with tempfile.TemporaryDirectory() as folder, explained(repo_id):
            self.save_pretrained(folder, repo_id=repo_id, license=license, pictures=pictures)
            url = api.create_repo(repo_id, private=private, exist_ok=True)
            api.upload_folder(repo_id=repo_id, folder_path=folder, commit_message=commit_message)
        return str(url)


def check_empty(folder: str) -> None:
    """Raises an OSError unless a folder can be written to and there is nothing in it."""
    check_folder(folder)
    if os.path.isdir(folder) and os.listdir(folder):
        raise FileExistsError(f"{folder}: there are files in it, name an empty folder or a new one")


def _find(name: str, revision: str | None, token: str | None) -> TrainedModel:
    if not os.path.isdir(name):
        return TrainedModel(*download(name, LIMITS, revision, token))
    paths = [os.path.join(name, file) for file in LIMITS]
    for path in paths:
        if not os.path.isfile(path):
            raise FileNotFoundError(f"{path}: no such file, which a shared model has")
    return TrainedModel(*paths)

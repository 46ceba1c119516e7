"""What is asked of the Hugging Face Hub: single files, and whether one may upload."""

import contextlib
import functools
import os
from collections.abc import Iterator, Mapping

from huggingface_hub import HfApi, errors
from huggingface_hub.utils import validate_repo_id

from .. import __version__
from ..cli.messages import describe

# From the special to the general.
_REASONS = {
    errors.LocalTokenNotFoundError: "there is no token, run 'hf auth login' or set HF_TOKEN",
    errors.GatedRepoError: "its owner has to give you access, ask on its page",
    errors.RepositoryNotFoundError: "no folder here and no model on the Hub, or a private one for "
    "which 'hf auth login' or HF_TOKEN gives no access",
    errors.RevisionNotFoundError: "the model has no such revision",
    errors.RemoteEntryNotFoundError: "no model of tood_d2, as {files} are not all there",
    errors.LocalEntryNotFoundError: "not downloaded before, and the Hub cannot be reached or "
    "HF_HUB_OFFLINE is set",
    errors.OfflineModeIsEnabled: "HF_HUB_OFFLINE is set, so the Hub is not asked",
    errors.HFValidationError: "neither a folder nor a name for a model, such as user/name",
}


def download(
    name: str, limits: Mapping[str, int], revision: str | None, token: str | None
) -> list[str]:
    """Downloads files of a model, all of one commit, unless they were downloaded before.

    Args:
        name: of the model, "user/name".
        limits: the files, each with the most bytes that it may have.
        revision: branch, tag or commit; None for the newest.
        token: of a user; None for that of this machine, if there is one.

    Returns:
        Their paths in the Hub's cache.

    Raises:
        OSError: if that is not possible.
        ValueError: if a file is too large, or no model can have that name.
    """
    api, offline = _hub(token), False
    with explained(name, files=" and ".join(limits)):
        try:
            info = api.model_info(name, revision=revision, files_metadata=True)
        except errors.HfHubHTTPError:
            raise
        except (errors.HTTPError, errors.OfflineModeIsEnabled):
            offline = True  # what was downloaded earlier does
        else:
            sizes = {x.rfilename: x.size or 0 for x in info.siblings or ()}
            for file, limit in limits.items():
                if sizes.get(file, 0) > limit:
                    raise ValueError(f"{name}: {file} has {sizes[file]} bytes, {limit} at most")
        find = functools.partial(api.hf_hub_download, name, local_files_only=offline)
        first, *others = limits
        paths = [find(first, revision=revision)]
        commit = os.path.basename(os.path.dirname(paths[0]))
        return paths + [find(file, revision=commit) for file in others]


def open_hub(repo_id: str, token: str | None = None) -> tuple[HfApi, str]:
    """The Hub, for a user whom it knows, and the whole name of a repository to upload to.

    Raises:
        OSError: if there is no token, the Hub refuses it or cannot be reached.
        ValueError: if no repository can have that name.
    """
    api = _hub(token)
    with explained(repo_id):
        validate_repo_id(repo_id)
        user = api.whoami()["name"]
    return api, repo_id if "/" in repo_id else f"{user}/{repo_id}"


@contextlib.contextmanager
def explained(name: str, files: str = "") -> Iterator[None]:
    """Makes one line of the Hub's errors, with the name of what was wanted."""
    try:
        yield
    except tuple(_REASONS) as error:
        reason = next(text for kind, text in _REASONS.items() if isinstance(error, kind))
        kind = ValueError if isinstance(error, ValueError) else OSError
        raise kind(f"{name}: {reason.format(files=files)}") from error
    except errors.HfHubHTTPError as error:
        raise OSError(f"{name}: the Hub refuses, {describe(error)}") from error
    except errors.HTTPError as error:  # of the network
        raise OSError(f"{name}: the Hub cannot be reached, {describe(error)}") from error


def _hub(token: str | None) -> HfApi:
    return HfApi(token=token, library_name="tood_d2", library_version=__version__)

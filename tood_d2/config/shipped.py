"""The configs that come with tood_d2, by name."""

import difflib
import os
from pathlib import Path

# In a checkout the configs lie beside the package, installed they lie inside.
_PACKAGE = Path(__file__).parents[1]
_FOLDERS = (_PACKAGE / "configs", _PACKAGE.parent / "configs")
CONFIG_FOLDER = next((folder for folder in _FOLDERS if folder.is_dir()), _FOLDERS[0])


def list_names() -> list[str]:
    """Names of all models."""
    return sorted(path.stem for path in CONFIG_FOLDER.glob("tood_*.py"))


def get_config_file(name: str) -> str:
    """Path of a model's config.

    Args:
        name: of :func:`list_names`, as it is or with ``.py`` for the LazyConfig, with
            ``.yaml`` for its CfgNode twin.

    Raises:
        ValueError: if there is no such config, with the names closest to it.
    """
    file = name if name.endswith((".py", ".yaml")) else f"{name}.py"
    path = CONFIG_FOLDER / file
    if path.name != file or not file.startswith("tood_") or not path.is_file():
        stem, names = Path(name).stem if file == name else name, list_names()
        close = difflib.get_close_matches(stem, names, n=3, cutoff=0.5) or names
        raise ValueError(f"no model {name!r} in the zoo; there is {', '.join(close)}")
    return str(path)


def find_config_file(path: str) -> str:
    """The path itself if there is such a file, else that of a shipped config of this name.

    Raises:
        FileNotFoundError: if there is neither.
    """
    if os.path.isfile(path):
        return path
    reason = f"{path!r}: no such config file (--config-file)"
    if not path.startswith("tood_"):
        raise FileNotFoundError(reason)
    try:
        return get_config_file(path)
    except ValueError as error:
        raise FileNotFoundError(f"{reason}, and {error}") from None

"""Where the images are that data in COCO's form list.

Labelling tools write names of their own storage: URLs, absolute paths, another system's separators.
"""

import os
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from urllib.parse import unquote, urlsplit

from ..files import walk_files

# What Label Studio puts before the name of a file that is uploaded to it.
_UPLOAD_PREFIX = re.compile(r"(^|.*/)[0-9a-f]{8}-([^/]+)")


def find_image_files(file_names: Sequence[str], image_root: str | os.PathLike) -> list[str | None]:
    """Finds the file of each image.

    One that is not where its name says is looked for in all of the folder, by the last part of its
    name, in which letter case, percent-encoding and the prefix of an upload may differ. It is found
    if one file alone can be meant, and no other image.

    Args:
        file_names: as in the JSON file.
        image_root: folder that they should be relative to.

    Returns:
        The path of each image, None for one that is not found.
    """
    paths = [os.path.join(image_root, name) for name in file_names]
    exists = [os.path.isfile(path) for path in paths]
    if not all(exists):
        index = _FileIndex(image_root)
        paths = [
            path if there else index.find(name)
            for path, name, there in zip(paths, file_names, exists, strict=True)
        ]
        num_names = Counter(path for path, _ in {*zip(paths, file_names, strict=True)})
        for i, path in enumerate(paths):
            if not exists[i] and num_names[path] > 1:
                paths[i] = None
    return paths


class _FileIndex:
    """The files of a folder by their names."""

    def __init__(self, folder: str | os.PathLike):
        self.files: dict[str, list[tuple[str, ...]]] = defaultdict(list)
        self.folder = os.fspath(folder)
        for path in walk_files(folder):
            parts = path.relative_to(folder).parts
            self.files[_fold(parts[-1])].append(parts)

    def find(self, name: str) -> str | None:
        """The path that a name can mean, None if there is none or several."""
        for variant in _variants(name):
            parts = [part for part in variant.replace("\\", "/").split("/") if part]
            *folders, last = parts or [""]
            candidates = self.files.get(_fold(last), [])
            for depth in range(1, len(folders) + 1):  # those that agree in the folders before it
                tail = [*map(_fold, folders[-depth:])]
                agreeing = [x for x in candidates if [*map(_fold, x[:-1])][-depth:] == tail]
                candidates = agreeing if len(candidates) > 1 and agreeing else candidates
            if len(candidates) == 1:
                return os.path.join(self.folder, *candidates[0])
        return None


def _variants(name: str) -> Iterator[str]:
    yield name
    yield unquote(name)
    if "://" in name:
        yield unquote(urlsplit(name).path)
    if match := _UPLOAD_PREFIX.fullmatch(unquote(name)):
        yield "".join(match.groups())


def _fold(name: str) -> str:
    """macOS takes letters with accents apart; Windows and macOS ignore letter case."""
    return unicodedata.normalize("NFC", name).casefold()


def describe_missing(name: str, image_root: str | os.PathLike) -> str:
    """Says why the file of an image was not found, by a name that it has in the JSON file."""
    files = [path.relative_to(image_root).as_posix() for path in walk_files(image_root)]
    last = name.replace("\\", "/").rsplit("/", 1)[-1]
    same = [x for x in files if _fold(x.rsplit("/", 1)[-1]) == _fold(last)]
    if len(same) > 1:
        return f"{len(same)} files are called {last}, such as {same[0]} and {same[1]}"
    if same:
        return f"{same[0]} has its last name, but several images of the JSON file could mean it"
    return f"the folder has {len(files)} files" + ", such as ".join(["", *files[:1]])

"""Which images a command line names, among millions, here or elsewhere.

See :mod:`.items` for paths.
"""

import json
import logging
import posixpath
import re
import tarfile
from collections.abc import Iterator, Sequence

import fsspec

from ..data.files import is_hidden, is_image_name
from .items import Item, Row, Span

logger = logging.getLogger(__name__)


def find_items(inputs: Sequence[str], images: str | None = None) -> list[Item]:
    """The images of folders (with those below), globs, lists, COCO files, Parquet files, archives.

    Args:
        inputs: paths or URLs, also of what a glob names, of which the suffix tells the kind:

            - ``.txt``: a path in each line;
            - ``.json``: the images of a COCO file, with their ids;
            - ``.parquet``: images in a column "bytes", or their paths in "path"; their names in
              "file_name" and numbers in "image_id", if there are such columns;
            - ``.tar``: the images in it, as WebDataset has them.
        images: folder that paths in COCO files, and in lists and Parquet files those that are not
            absolute, are relative to; by default that of the file.

    Returns:
        The images in the order of the inputs, those of a folder or glob sorted. Each name once.

    Raises:
        FileNotFoundError: names an input without any image.
        ValueError: names an input that cannot be read, or two images with the same name.
    """
    items: dict[str, Item] = {}
    num_again = 0
    for source in inputs:
        number = 0
        for item in _find(source, images):
            number += 1
            known = items.setdefault(item.file_name, item)
            num_again += known is not item
            if known[2:] != item[2:]:
                raise ValueError(
                    f"{source}: {item.file_name} is also the name of {known.path}: detect in them "
                    "one after the other"
                )
        if not number:
            raise FileNotFoundError(f"{source}: no image in it")
    if num_again:
        logger.warning(f"{num_again} images are named again: each is read once")
    return [*items.values()]


def _find(source: str, images: str | None) -> Iterator[Item]:
    filesystem, path = fsspec.url_to_fs(source)
    suffix = posixpath.splitext(path)[1].lower()
    is_file = filesystem.isfile(path)
    if is_file and suffix in _READERS:
        try:
            yield from _READERS[suffix](source, _folder(source) if images is None else images)
        except (KeyError, TypeError, ValueError, tarfile.TarError, UnicodeDecodeError) as error:
            raise ValueError(f"{source}: {error}") from error
    elif is_file:
        yield Item(posixpath.basename(path), None, source)
    else:
        is_folder = filesystem.isdir(path)
        # Names begin behind the part of a glob that has no wildcard.
        root = path if is_folder else re.split(r"[*?\[]", path, maxsplit=1)[0].rpartition("/")[0]
        for name in sorted(filesystem.find(path) if is_folder else filesystem.glob(path)):
            inner, url = name.removeprefix(root.rstrip("/") + "/"), _url(filesystem, name, source)
            if any(map(is_hidden, inner.split("/"))):
                continue
            if is_image_name(inner):
                yield Item(inner, None, url)
            elif not is_folder and posixpath.splitext(name)[1].lower() in _READERS:
                yield from _find(url, images)


def _url(filesystem, path: str, source: str) -> str:
    return filesystem.unstrip_protocol(path) if "://" in source else path


def _folder(source: str) -> str:
    return source.rpartition("/")[0] if "/" in source else ""


def _join(folder: str, name: str) -> str:
    is_absolute = name.startswith("/") or "://" in name
    return name if is_absolute or not folder else f"{folder.rstrip('/')}/{name}"


def _read_list(source: str, images: str) -> Iterator[Item]:
    with fsspec.open(source, "rt", encoding="utf-8") as file:
        for line in file:
            if name := line.strip():
                yield Item(name, None, _join(images, name))


def _read_coco(source: str, images: str) -> Iterator[Item]:
    with fsspec.open(source, "rt", encoding="utf-8") as file:
        content = json.load(file)
    if not isinstance(content, dict) or not isinstance(content.get("images"), list):
        raise ValueError("no COCO file, which has a list of images")
    for x in content["images"]:
        yield Item(x["file_name"], int(x["id"]), _join(images, x["file_name"]))


def _read_parquet(source: str, images: str) -> Iterator[Item]:
    import pyarrow.parquet

    with fsspec.open(source, "rb") as file:
        table = pyarrow.parquet.ParquetFile(file)
        known = {"bytes", "file_name", "image_id", "path"} & {*table.schema_arrow.names}
        if not known & {"bytes", "path"}:
            raise ValueError('it has no column "path" or "bytes"')
        has_bytes, stem = "bytes" in known, posixpath.basename(source)
        columns = sorted(known - ({"path"} if has_bytes else {"bytes"}) - {"bytes"})
        number = 0
        if not columns:
            yield from (
                Item(f"{stem}/{i}", None, source, Row(i)) for i in range(table.metadata.num_rows)
            )
            return
        for batch in table.iter_batches(columns=columns, use_threads=False):
            for row in batch.to_pylist():
                path = None if has_bytes else row["path"]
                name = row.get("file_name") or path or f"{stem}/{number}"
                part = Row(number) if has_bytes else None
                place = source if has_bytes else _join(images, path or "")
                yield Item(name, row.get("image_id"), place, part)
                number += 1


def _read_tar(source: str, images: str) -> Iterator[Item]:
    with fsspec.open(source, "rb") as file, tarfile.open(fileobj=file, mode="r:") as archive:
        for member in archive:
            inner = member.name.split("/")
            if member.isreg() and is_image_name(member.name) and not any(map(is_hidden, inner)):
                yield Item(member.name, None, source, Span(member.offset_data, member.size))


_READERS = {
    ".json": _read_coco,
    ".parquet": _read_parquet,
    ".tar": _read_tar,
    ".txt": _read_list,
}

"""Images of a collection: where each is, and how its bytes are read.

Paths may be local, or URLs that fsspec knows (``s3://``, ``gs://``, ``memory://`` ...).
"""

from bisect import bisect
from collections.abc import Iterable, Iterator
from itertools import accumulate, groupby
from typing import NamedTuple

import fsspec

ROWS_AT_ONCE = 32
"""Rows of a Parquet file that are in memory at once, with the bytes of their images."""


class Span(NamedTuple):
    """A part of an uncompressed archive, in bytes."""

    start: int
    size: int


class Row(NamedTuple):
    """A row of a Parquet file, whose column "bytes" has the image."""

    number: int


class Item(NamedTuple):
    """One image."""

    file_name: str
    """What its results call it."""
    image_id: int | None
    """Its number, where its source has one."""
    path: str
    """Of the file that it is, or is in."""
    part: Span | Row | None = None
    """Where in the file; None if it is the file."""


def read_items(items: Iterable[Item]) -> Iterator[tuple[Item, bytes | Exception]]:
    """The bytes of each item, or why they cannot be read, one after the other.

    Rows of a Parquet file that follow each other are read in one pass.
    """
    for (path, is_row), group in groupby(items, lambda x: (x.path, isinstance(x.part, Row))):
        if is_row:
            yield from _read_rows(path, [*group])
        else:
            yield from ((item, _read_file(item)) for item in group)


def _read_file(item: Item) -> bytes | Exception:
    try:
        filesystem, path = fsspec.url_to_fs(item.path)
        if item.part is None:
            return filesystem.cat_file(path)
        start, size = item.part
        content = filesystem.cat_file(path, start=start, end=start + size)
        if len(content) < size:
            raise OSError(f"{item.path}: ends within {item.file_name}")
        return content
    except Exception as error:  # of any file system
        return error


def _read_rows(path: str, items: list[Item]) -> Iterator[tuple[Item, bytes | Exception]]:
    import pyarrow.parquet

    wanted, reason = {item.part.number: item for item in items}, OSError(f"{path}: has no such row")
    first, last = min(wanted), max(wanted)
    try:
        with fsspec.open(path, "rb") as file:
            table = pyarrow.parquet.ParquetFile(file)
            sizes = (table.metadata.row_group(x).num_rows for x in range(table.num_row_groups))
            starts = [*accumulate(sizes, initial=0)]
            end = min(bisect(starts, last), table.num_row_groups)
            groups = range(bisect(starts, first) - 1, end)
            number = starts[groups.start]
            for batch in table.iter_batches(
                ROWS_AT_ONCE, [*groups], columns=["bytes"], use_threads=False
            ):
                for value in batch.column("bytes"):
                    if item := wanted.pop(number, None):
                        content = value.as_py()
                        yield item, ValueError("no bytes") if content is None else content
                    number += 1
    except Exception as error:  # files may be damaged in many ways
        reason = error
    yield from ((item, reason) for item in wanted.values())

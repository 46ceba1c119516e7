"""A folder with the detections in a collection of images, in shards.

The folder may be local or a URL that fsspec knows. It has ``job.json``, which tells what is
detected in what, and a Parquet file for each shard; one that is there is complete.
"""

import hashlib
import json
import os
import posixpath
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

import fsspec
import pyarrow
import pyarrow.parquet
from fsspec.implementations.local import LocalFileSystem

from ..checkpoint.atomic import atomic_write
from .items import Item

JOB = "job.json"


@dataclass(frozen=True)
class Job:
    """What is detected in what; the same command line gives the same job again.

    Attributes:
        num_images: in all shards.
        shard_size: images of a shard; the last one may have less.
        images: fingerprint of the images' names and places.
        model: what the detections depend on, by name.
    """

    num_images: int
    shard_size: int
    images: str
    model: dict[str, str]

    @classmethod
    def of(cls, items: Sequence[Item], shard_size: int, model: dict[str, str]) -> "Job":
        """The job of some images, see the attributes."""
        digest = hashlib.sha256()
        for item in items:
            digest.update(json.dumps(item).encode() + b"\n")
        return cls(len(items), shard_size, digest.hexdigest(), model)

    @property
    def num_shards(self) -> int:
        return -(-self.num_images // self.shard_size)

    def difference(self, other: "Job") -> str:
        """In words what differs in another job, empty if nothing does."""
        if (self.num_images, self.images) != (other.num_images, other.images):
            return f"other images, {self.num_images}"
        mine, others = ({"shard_size": x.shard_size, **x.model} for x in (self, other))
        for name in sorted({*mine, *others}):
            if (value := mine.get(name)) != others.get(name):
                return f"{name} {value}, not {others.get(name)}"
        return ""

    def positions(self, shard: int) -> range:
        """Which images are in a shard."""
        start = shard * self.shard_size
        return range(start, min(start + self.shard_size, self.num_images))


class ResultFolder:
    """Where a job's detections are kept."""

    def __init__(self, folder: str):
        """Takes a path or URL; see :meth:`prepare`."""
        self.folder = folder
        self._filesystem, self._path = fsspec.url_to_fs(folder)
        self._is_local = isinstance(self._filesystem, LocalFileSystem)

    def prepare(self, job: Job) -> list[int]:
        """Makes the folder, or finds out what is left to do in it.

        The first shard that is written makes it the folder of the job.

        Returns:
            The shards that are missing.

        Raises:
            FileExistsError: if the folder has files of something else.
            ValueError: if it has those of another job, says what differs.
        """
        self._filesystem.makedirs(self._path, exist_ok=True)
        known = self.read_job(missing=job)
        if difference := known.difference(job):
            raise ValueError(
                f"{self.folder} has results of another job ({difference}): choose another folder"
            )
        if known is job and (others := self._names()):
            raise FileExistsError(
                f"{self.folder} has files of something else, such as {others[0]}: choose "
                "another folder"
            )
        done = {*self._names()}
        return [x for x in range(job.num_shards) if self.shard_name(x) not in done]

    def read_job(self, missing: Job | None = None) -> Job:
        """The job that the folder is of.

        Raises:
            FileNotFoundError: if there is none, unless one to return is given.
            ValueError: if it cannot be read.
        """
        path = posixpath.join(self._path, JOB)
        if not self._filesystem.exists(path):
            if missing is None:
                raise FileNotFoundError(f"{self.folder}: no results, which have a {JOB}")
            return missing
        try:
            return Job(**json.loads(self._filesystem.cat_file(path)))
        except (TypeError, ValueError) as error:
            raise ValueError(f"{self.folder}/{JOB}: {error}") from error

    @staticmethod
    def shard_name(shard: int) -> str:
        return f"shard-{shard:07}.parquet"

    def write(self, job: Job, shard: int, table: pyarrow.Table) -> None:
        """Writes a shard of a job, whole or not at all."""
        if not self._filesystem.exists(posixpath.join(self._path, JOB)):
            self._write(JOB, json.dumps(asdict(job), indent=1).encode())
        sink = pyarrow.BufferOutputStream()
        pyarrow.parquet.write_table(table, sink, compression="zstd")
        self._write(self.shard_name(shard), sink.getvalue().to_pybytes())

    def read(self, shard: int) -> pyarrow.Table:
        """Reads a shard.

        Raises:
            FileNotFoundError: if it is missing.
            ValueError: if it is damaged.
        """
        path = posixpath.join(self._path, self.shard_name(shard))
        try:
            content = pyarrow.BufferReader(self._filesystem.cat_file(path))
            # With threads, which reading small files does not need, Python may abort at its end.
            return pyarrow.parquet.ParquetFile(content).read(use_threads=False)
        except FileNotFoundError:
            raise FileNotFoundError(
                f"{self.folder}: shard {shard} is missing, detection is not complete"
            ) from None
        except pyarrow.ArrowInvalid as error:
            raise ValueError(f"{path}: {error}") from error

    def rows(self) -> Iterator[dict]:
        """All rows, in the order of the images."""
        for shard in range(self.read_job().num_shards):
            yield from self.read(shard).to_pylist()

    def num_errors(self) -> int:
        """How many images could not be read."""
        shards = range(self.read_job().num_shards)
        return sum(len(x) - x["error"].null_count for x in map(self.read, shards))

    def _names(self) -> list[str]:
        names = map(posixpath.basename, self._filesystem.ls(self._path, detail=False))
        return sorted(x for x in names if x and not x.startswith("."))

    def _write(self, name: str, content: bytes) -> None:
        path = posixpath.join(self._path, name)
        if self._is_local:
            with atomic_write(os.fspath(path)) as file:
                file.write(content)
        else:
            # Object stores show a file once it is complete.
            self._filesystem.pipe_file(path, content)

"""Label files of YOLO: where they are, and their lines."""

from pathlib import Path

from ..files import is_hidden, walk_files
from .labelled_images import LabelledBox
from .text import parse_number, read_lines

_RANGE = (-0.5, 1.5)  # of normalised numbers, as boxes may reach a little out of their image
_DIGITS = 3  # of boxes in pixels


class LabelFolders:
    """Finds the label files of images; remembers the folders that it looked in."""

    def __init__(self):
        self._files: dict[Path, dict[str, Path]] = {}  # by folder and stem

    def find(self, image: Path) -> Path | None:
        """The label file of an image: ``labels`` for ``images``, or beside it."""
        for folder in _label_folders(image.parent):
            if image.stem in (files := self._texts(folder)):
                return files[image.stem]
        return None

    def folders(self) -> list[Path]:
        """Those that it looked in, and that exist."""
        return sorted(folder for folder in self._files if folder.is_dir())

    def files(self) -> list[Path]:
        """All text files in these folders and their sub-folders."""
        files = {x for folder in self.folders() for x in walk_files(folder) if _is_text(x)}
        return sorted(files)

    def _texts(self, folder: Path) -> dict[str, Path]:
        if folder not in self._files:
            entries = sorted(folder.iterdir()) if folder.is_dir() else []
            self._files[folder] = {
                path.stem: path
                for path in entries
                if _is_text(path) and path.is_file() and not is_hidden(path.name)
            }
        return self._files[folder]


def _is_text(path: Path) -> bool:
    return path.suffix.lower() == ".txt"


def _label_folders(folder: Path) -> list[Path]:
    """Where the labels of the images in a folder may be."""
    parts, folders = folder.parts, []
    for i in reversed(range(len(parts))):
        if parts[i].lower() == "images":
            for name in ("labels", "Labels"):
                folders.append(Path(*parts[:i], name, *parts[i + 1 :]))
    return [*folders, folder, folder / "labels", folder.parent / "labels"]


class LabelReader:
    """Reads label files, and counts their kinds of labels.

    Args:
        class_names: by the numbers of the classes.
        num_keypoint_numbers: that are behind each box.
        drop_scores: whether labels may end with a score, which is left out.
    """

    def __init__(self, class_names: list[str], num_keypoint_numbers: int, drop_scores: bool):
        self.class_names = class_names
        self.num_keypoint_numbers = num_keypoint_numbers
        self.drop_scores = drop_scores
        self.num_boxes = 0
        self.polygons: list[str] = []  # places in files

    def read(self, label_file: Path, size: tuple[int, int]) -> list[LabelledBox]:
        """Reads the objects of an image of such width and height in pixels.

        Raises:
            ValueError: if a line is malformed, with its place.
        """
        objects = []
        for where, line in read_lines(label_file).items():
            try:
                label, *box = self._read_line(line, where)
            except ValueError as error:
                raise ValueError(f"{where}: {error}") from error
            sides = (*size, *size)
            box = [round(x * side, _DIGITS) for x, side in zip(box, sides, strict=True)]
            objects.append(LabelledBox(self.class_names[label], box, where))
        return objects

    def _read_line(self, line: str, where: str) -> tuple[int, float, float, float, float]:
        """Class and box (x, y, width, height), relative to the image's size."""
        texts = line.split()
        label, *numbers = map(parse_number, texts)
        if label not in range(len(self.class_names)):
            raise ValueError(
                f"class {texts[0]} is not among the {len(self.class_names)} of the data set, "
                "which count from 0"
            )
        if self.drop_scores and len(numbers) % 2:
            numbers.pop()
        if self.num_keypoint_numbers and len(numbers) == 4 + self.num_keypoint_numbers:
            numbers = numbers[:4]
        if len(numbers) == 5:
            raise ValueError(
                f"6 columns, of which the last, {texts[-1]}, looks like a score (the confidence of "
                "a detector's prediction): dataset.py convert yolo --drop-scores leaves scores out"
            )
        if len(numbers) != 4 and (len(numbers) < 6 or len(numbers) % 2):
            raise ValueError(
                "a class should be followed by 4 numbers of a box or by the corners of a polygon, "
                f"here are {len(numbers)} numbers (keypoints need 'kpt_shape' in data.yaml)"
            )
        low, high = _RANGE
        if not all(low <= x <= high for x in numbers):
            hint = "; keypoints need 'kpt_shape' in data.yaml" if len(numbers) > 6 else ""
            raise ValueError(f"numbers should be relative to the image's size, from 0 to 1{hint}")
        if len(numbers) == 4:
            x, y, width, height = numbers
            if min(width, height) < 0:
                raise ValueError("width and height should not be negative")
            self.num_boxes += 1
            return int(label), x - width / 2, y - height / 2, width, height
        if self.num_keypoint_numbers:
            raise ValueError(
                f"{len(numbers)} numbers behind the class, 'kpt_shape' says 4 for the box and "
                f"{self.num_keypoint_numbers} for keypoints"
            )
        self.polygons.append(where)
        xs, ys = numbers[::2], numbers[1::2]
        return int(label), min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys)

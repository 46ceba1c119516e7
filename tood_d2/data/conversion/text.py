"""Text files as labelling tools write them."""

import codecs
import math
import re
from pathlib import Path

_BYTE_ORDER_MARKS = {  # that of UTF-32 begins with that of UTF-16
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.ASCII | re.IGNORECASE)


def decode(data: bytes, default: str = "utf-8") -> str:
    """Decodes the bytes of a file, by their byte order mark if they have one.

    Raises:
        ValueError: if they are no such text, or nobody knows the default encoding.
    """
    encoding = next((e for mark, e in _BYTE_ORDER_MARKS.items() if data.startswith(mark)), default)
    try:
        text = data.decode(encoding)
    except UnicodeError as error:
        raise ValueError(f"it is not text in {encoding}: {error}") from error
    except LookupError as error:
        raise ValueError(f"its encoding {encoding!r} is unknown") from error
    if "\0" in text:
        raise ValueError(f"it is not text in {encoding}: it has null characters")
    return text


def read_text(path: Path) -> str:
    """Reads a text file in UTF-8, or one whose byte order mark tells its encoding.

    Raises:
        ValueError: if it is no text, with its name.
    """
    try:
        return decode(path.read_bytes())
    except ValueError as error:
        raise ValueError(f"{path} is not a text file, save it as UTF-8: {error}") from error


def read_lines(path: Path) -> dict[str, str]:
    """Reads the lines of a text file that are not blank, by their place, such as "a.txt, line 1".

    Raises:
        ValueError: if it is no text.
    """
    lines = re.split(r"\r\n|\n|\r", read_text(path))
    return {f"{path}, line {i}": line.strip() for i, line in enumerate(lines, 1) if line.strip()}


def parse_number(text: str) -> float:
    """Reads a finite decimal number.

    Raises:
        ValueError: if it is none.
    """
    text = text.strip()
    if not _NUMBER.fullmatch(text):
        hint = ", with a decimal point" if "," in text else ""
        raise ValueError(f"should be a number{hint}, is {text[:40]!r}")
    if not math.isfinite(number := float(text)):
        raise ValueError(f"should be a smaller number, is {text[:40]!r}")
    return number

"""A file of Pascal VOC's annotations."""

import re
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

from .text import decode, parse_number

_DECLARATION = re.compile(rb"""\s*<\?xml[^>]*?\sencoding\s*=\s*["']([^"'>]*)["']""")


class VocObject(NamedTuple):
    """An object."""

    class_name: str
    corners: list[float]  # xmin, ymin, xmax, ymax as they are written
    difficult: str
    where: str  # file and number


class VocAnnotation(NamedTuple):
    """What an XML file says of an image."""

    file_name: str  # of the image, without folders; empty if it is not given
    size: tuple[float, float] | None  # width and height in pixels, if given
    objects: list[VocObject]


class _NoDoctype(ElementTree.TreeBuilder):
    """Refuses document types, as only they can define entities, which can grow without limit."""

    def doctype(self, *args) -> None:
        raise ValueError("it has a DOCTYPE, which annotations have no use for: remove it")


def read_voc_xml(xml_file: Path) -> VocAnnotation:
    """Reads an XML file.

    Raises:
        ValueError: if it is malformed, with the file and the object.
    """
    try:
        tree = _parse(xml_file.read_bytes())
    except (ElementTree.ParseError, ValueError) as error:
        raise ValueError(f"{xml_file} cannot be read as XML: {error}") from error
    if tree.tag != "annotation":
        raise ValueError(f"{xml_file} begins with <{tree.tag}>, not with VOC's <annotation>")
    items = tree.findall("object")
    if len(items) != len(tree.findall(".//object")):
        raise ValueError(f"{xml_file} has an <object> inside of another element")
    objects = [_read_object(x, f"{xml_file}, object {i}") for i, x in enumerate(items, start=1)]
    file_name = _text(tree, "filename", str(xml_file))
    return VocAnnotation(re.split(r"[/\\]", file_name)[-1], _read_size(tree, xml_file), objects)


def _parse(data: bytes) -> ElementTree.Element:
    """Parses XML in any encoding that Python knows, of which the parser itself knows few."""
    declaration = _DECLARATION.match(data)
    default = declaration[1].decode("latin-1") if declaration else "utf-8"
    if data.startswith((b"<\0", b"\0<")):
        default = "utf-16-le" if data.startswith(b"<") else "utf-16-be"
    parser = ElementTree.XMLParser(target=_NoDoctype())
    parser.feed(decode(data, default))
    return parser.close()


def _read_size(tree: ElementTree.Element, xml_file: Path) -> tuple[float, float] | None:
    if _only(tree, "size", str(xml_file)) is None:
        return None
    width, height = (_number(tree, f"size/{side}", str(xml_file)) for side in ("width", "height"))
    return width, height


def _read_object(item: ElementTree.Element, where: str) -> VocObject:
    class_name = _text(item, "name", where)
    if not class_name:
        raise ValueError(f"{where} has no <name>")
    if _only(item, "bndbox", where) is None:
        tags = ", ".join(f"<{child.tag}>" for child in item)
        raise ValueError(f"{where} has no <bndbox>, only {tags}")
    corners = [_number(item, f"bndbox/{x}", where) for x in ("xmin", "ymin", "xmax", "ymax")]
    return VocObject(class_name, corners, _text(item, "difficult", where), where)


def _only(item: ElementTree.Element, tag: str, where: str) -> ElementTree.Element | None:
    found = item.findall(tag)
    if len(found) > 1:
        raise ValueError(f"{where} has <{tag}> {len(found)} times")
    return found[0] if found else None


def _text(item: ElementTree.Element, tag: str, where: str) -> str:
    element = _only(item, tag, where)
    return "" if element is None else (element.text or "").strip()


def _number(item: ElementTree.Element, tag: str, where: str) -> float:
    try:
        return parse_number(_text(item, tag, where))
    except ValueError as error:
        raise ValueError(f"{where}: <{tag}> {error}") from error

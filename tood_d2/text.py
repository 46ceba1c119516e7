"""Names of classes and files, which may have any characters, on the terminal and in pictures."""

import contextlib
import functools
import logging
import unicodedata
from collections.abc import Iterator, Sequence

MAX_LENGTH = 40  # of a label, in characters

logger = logging.getLogger(__name__)


def printable(text: str) -> str:
    """Makes one line of a text, without codes that a terminal would obey.

    Control characters become "\N{REPLACEMENT CHARACTER}". Those without a form of their own, such
    as marks of the direction of writing, are left out.
    """
    kept = (c for c in " ".join(text.split()) if unicodedata.category(c) != "Cf")
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in kept)


@contextlib.contextmanager
def drawable(names: Sequence[str]) -> Iterator[list[str]]:
    """Labels of classes for texts that matplotlib makes in this context.

    These texts have fonts with the characters of the labels, where "$" starts no formula. A class
    without a name is labelled by its number, its index. So is one whose name no font of the system
    can write; this is logged once.
    """
    import matplotlib  # slow

    labels, families = _find_labels(tuple(names))
    with matplotlib.rc_context({"font.family": families}):
        yield [*labels]


@functools.lru_cache(maxsize=16)
def _find_labels(names: tuple[str, ...]) -> tuple[list[str], list[str]]:
    """Labels of classes and the families of fonts for them."""
    labels = [printable(name) for name in names]
    families, missing = _find_families(frozenset().union(*labels))
    unknown = [i for i, label in enumerate(labels) if not missing.isdisjoint(label)]
    if unknown:
        examples = ", ".join(f"{i} for {labels[i]}" for i in unknown[:3])
        logger.warning(
            f"No font of this system can write {len(unknown)} of the class names: pictures show "
            f"numbers instead, {examples}"
        )
    for i in unknown:
        labels[i] = ""
    labels = [x if len(x) <= MAX_LENGTH else x[: MAX_LENGTH - 1] + "…" for x in labels]
    return [x.replace("$", r"\$") or str(i) for i, x in enumerate(labels)], families


def _find_families(characters: frozenset[str]) -> tuple[list[str], set[str]]:
    """Families of fonts, matplotlib's own first, and the characters that none of them has."""
    import matplotlib
    from matplotlib.font_manager import FontProperties, findfont, fontManager, get_font

    def find_missing(characters: set[str], family: str) -> set[str]:
        try:
            font = get_font(findfont(FontProperties(family=[family]), fallback_to_default=False))
        except (OSError, RuntimeError, ValueError):  # damaged or removed since it was listed
            return characters
        return {c for c in characters if not font.get_char_index(ord(c))}

    families, missing = [*matplotlib.rcParams["font.family"]], {*characters}
    for family in families:
        missing = find_missing(missing, family)
    if missing:  # of weights that a font lacks
        logging.getLogger("matplotlib.font_manager").setLevel(logging.ERROR)
    fonts = sorted((x.weight != 400, x.name) for x in fontManager.ttflist) if missing else ()
    for _, family in dict.fromkeys(fonts):
        if family.startswith("Last Resort"):  # has boxes only
            continue
        still_missing = find_missing(missing, family)
        if len(still_missing) < len(missing):
            families.append(family)
        missing = still_missing
    return families, missing

"""What a conversion leaves out or doubts."""

import logging

logger = logging.getLogger(__name__)


class Remarks:
    """Places in files by the kind of remark on them: one warning a kind, however many there are."""

    def __init__(self):
        self._places: dict[str, list[str]] = {}

    def add(self, kind: str, *places: object) -> None:
        """Adds places to a kind."""
        if places:
            self._places.setdefault(kind, []).extend(map(str, places))

    def log(self) -> None:
        """Logs a warning for each kind, with the number of places and the first."""
        for kind, places in self._places.items():
            logger.warning(f"{kind}: {len(places)}, the first is {places[0]}")
        self._places.clear()

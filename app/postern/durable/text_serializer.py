"""What DBOS stores: texts that Postern has written already. It gets no objects of authors, and keeps no errors."""

import json
from typing import Any

from dbos import Serializer
from dbos._serialization import DefaultSerializer


class TextSerializer(Serializer):
    """JSON."""

    def serialize(self, data: Any) -> str:
        """The stored text. An error is raised: errors of steps are values (`errors_as_values.py`), so this one is of
        the database itself. DBOS would record it as the result of a step that it could not record."""
        if isinstance(data, BaseException):
            raise data
        return json.dumps(data)

    def deserialize(self, serialized_data: str) -> Any:
        """The value of a stored text."""
        return json.loads(serialized_data)

    def name(self) -> str:
        """The name under which DBOS notes how a value was stored."""
        return "postern-json"


def _never(_: Any, __: Any) -> Any:
    raise TypeError("what DBOS keeps is never unpickled")


def forbid_pickles() -> None:
    """DBOS reads a value by the format that its row names, whichever serializer it was given: a row that names its own
    one would be unpickled, which runs code. So whoever can write the database could run code here."""
    DefaultSerializer.deserialize = _never  # type: ignore[method-assign, assignment]

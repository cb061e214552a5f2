"""What DBOS stores: texts that Postern has written already. It gets no objects of authors, and keeps no errors."""

import json
from typing import Any

from dbos import Serializer


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

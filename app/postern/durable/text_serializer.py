"""What DBOS stores: texts that Postern has written already. It gets no objects of authors, and no errors."""

import json
from typing import Any

from dbos import Serializer


class TextSerializer(Serializer):
    """JSON. An error of DBOS itself is kept by the name of its type."""

    def serialize(self, data: Any) -> str:
        """The stored text."""
        return json.dumps(data, default=lambda value: type(value).__name__)

    def deserialize(self, serialized_data: str) -> Any:
        """The value of a stored text."""
        return json.loads(serialized_data)

    def name(self) -> str:
        """The name under which DBOS notes how a value was stored."""
        return "postern-json"

"""Documents of the API, as tests read them."""

from typing import Any


class Record(dict[str, Any]):
    """A JSON object whose members are attributes too: `run.state` is `run["state"]`."""

    @classmethod
    def of(cls, value: Any) -> Any:
        """The value, with each object in it as a Record."""
        if isinstance(value, dict):
            return cls((name, cls.of(member)) for name, member in value.items())
        return [cls.of(each) for each in value] if isinstance(value, list) else value

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"the record has no {name}; it has {', '.join(self)}") from None

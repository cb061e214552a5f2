"""What a directory says of callers."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True, slots=True)
class DirectoryObject:
    """A person, or the service principal of an application. `client_id` is that of an application."""

    kind: Literal["person", "application"]
    name: str
    guest: bool = False
    enabled: bool = True
    client_id: str = ""


@dataclass(frozen=True, slots=True)
class Looked:
    """What a look into the directory found, by object id: None for an id that it does not have. Ids that are not here
    were not looked up. `fault` says why some were not, "" if all were."""

    objects: Mapping[str, DirectoryObject | None] = field(default_factory=dict)
    fault: str = ""

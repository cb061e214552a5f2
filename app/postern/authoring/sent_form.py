"""A form as it was sent: names with texts and files."""

import json
from collections.abc import Iterable
from hashlib import sha256
from urllib.parse import urlencode

from postern.authoring.inputs import UploadFile

Item = tuple[str, str | UploadFile]

URLENCODED = "application/x-www-form-urlencoded"
PIECE = 64 * 1024
MOST_TYPE = 100
"""Characters of a file's type that are recorded."""


class SentForm:
    """A form that was sent. `close` removes its files."""

    def __init__(self, items: Iterable[Item]) -> None:
        self.items = list(items)

    def __repr__(self) -> str:
        return f"SentForm({len(self.items)} fields)"

    @property
    def files(self) -> list[UploadFile]:
        """The files, in their order."""
        return [value for _, value in self.items if isinstance(value, UploadFile)]

    def close(self) -> None:
        """Remove the files."""
        for each in self.files:
            each.file.close()

    @property
    def recorded(self) -> tuple[str, bytes]:
        """What a record has of it, as a type and a body. Without files it is the form itself. With files it is JSON
        (`body_form.WITH_FILES`), and of each file its name, type and size alone."""
        if not self.files:
            return URLENCODED, urlencode([(name, str(value)) for name, value in self.items]).encode()
        found: dict[str, list[object]] = {}
        for name, value in self.items:
            found.setdefault(name, []).append(about(value) if isinstance(value, UploadFile) else value)
        shown = {name: values[0] if len(values) == 1 else values for name, values in found.items()}
        return "multipart/form-data", json.dumps(shown, ensure_ascii=False).encode("utf-8", "replace")

    def digest(self) -> bytes:
        """A digest of all names, texts and files. The boundary is not in it: clients choose another one each time."""
        digest = sha256()
        for name, value in self.items:
            if isinstance(value, UploadFile):
                inner = sha256()
                while piece := value.file.read(PIECE):
                    inner.update(piece)
                value.file.seek(0)
                parts = (name, "file", value.filename or "", value.content_type or "", inner.hexdigest())
            else:
                parts = (name, "text", value, "", "")
            digest.update(json.dumps(parts).encode())
        return digest.digest()


def about(file: UploadFile) -> dict[str, object]:
    """What is recorded of a file."""
    kind = "".join(each for each in file.content_type or "" if each.isprintable())
    return {"filename": file.filename, "content_type": kind[:MOST_TYPE], "size": file.size}

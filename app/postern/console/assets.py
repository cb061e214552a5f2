"""The stylesheet, the scripts and the icon. Their address has a hash of their content, so that browsers keep them."""

from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from starlette.requests import Request

from postern.errors import problem
from postern.triggers.reply import Answer

FOLDER = Path(__file__).with_name("assets")
TYPES = {
    "css": b"text/css; charset=utf-8",
    "js": b"text/javascript; charset=utf-8",
    "svg": b"image/svg+xml",
}
FOREVER = b"public, max-age=31536000, immutable"


@dataclass(frozen=True, slots=True)
class Assets:
    """The files by name. `version` is a hash of all of them."""

    files: dict[str, bytes]
    version: str

    async def answer(self, request: Request, _: str) -> Answer:
        """A file. During an upgrade the pages of another version may come from a neighbouring server process: they get
        this one's file, which browsers do not keep then."""
        name: str = request.path_params["name"]
        kind = TYPES.get(name.rpartition(".")[2])
        content = self.files.get(name)
        if content is None or kind is None:
            raise problem("not-found")
        current = request.path_params["version"] == self.version
        return Answer(
            200,
            [
                (b"content-type", kind),
                (b"cache-control", FOREVER if current else b"no-store"),
                (b"cross-origin-resource-policy", b"same-origin"),
                (b"x-content-type-options", b"nosniff"),
                (b"content-length", str(len(content)).encode()),
            ],
            content,
        )


def load_assets(folder: Path = FOLDER) -> Assets:
    """The files of the folder."""
    files = {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.suffix[1:] in TYPES}
    digest = sha256()
    for name, content in files.items():
        digest.update(f"{name} {len(content)} ".encode())
        digest.update(content)
    return Assets(files, digest.hexdigest()[:16])

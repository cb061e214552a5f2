"""The agent as a service of systemd."""

from pathlib import Path

UNIT = "postern-gateway.service"
FOLDER = Path("/etc/systemd/system")
USER = "postern-gateway"

_TEMPLATE = Path(__file__).with_name("unit.service")


def unit(program: str, config: str) -> str:
    """The unit that runs this program with this settings file. Raises ValueError for a path that systemd would read as
    something else."""
    for path in (program, config):
        if not path.startswith("/") or set(path) & set(" \t\n\"'\\%$;"):
            raise ValueError(f"{path!r} is not an absolute path without spaces, quotes, % and $")
    text = _TEMPLATE.read_text("utf-8")
    return text.replace("@PROGRAM@", program).replace("@CONFIG@", config).replace("@FOLDER@", str(Path(config).parent))

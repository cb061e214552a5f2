"""Tables of the rooms' README.md pages."""

import re
from pathlib import Path


def table_rows(page: str, heading: str) -> list[list[str]]:
    """The cells of the first table under this heading, without its head."""
    section = page.split(f"\n## {heading}\n")[1].split("\n## ", maxsplit=1)[0]
    table = re.search(r"(?:^\|.*\n)+", section, re.MULTILINE)
    assert table
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table[0].splitlines()[2:]]


def missing_files(room: Path) -> list[str]:
    """Files that the table "Files" of a room's page names and that do not exist."""
    page = (room / "README.md").read_text(encoding="utf-8")
    names = {name for row in table_rows(page, "Files") for name in re.findall(r"`([\w./]+)`", " ".join(row))}
    return sorted(name for name in names if not (room / name).exists())

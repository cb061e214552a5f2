"""Reports syntax errors in Bicep files: `bicep_syntax.py FILE...`, in the linters' environment.

A parser checks only the syntax. Bicep's own compiler checks whether a module has a parameter and whether Azure accepts
its value. The grammar does not support `extension NAME` (Bicep 0.30 and later), so such a line is left out.
"""

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import tree_sitter_bicep
from tree_sitter import Language, Parser

EXTENSION = re.compile(rb"^extension [A-Za-z][A-Za-z0-9]*$", re.MULTILINE)


def faults(node: Any) -> Iterator[Any]:
    """The outermost nodes that could not be read, and those that are missing."""
    if node.is_error or node.is_missing:
        yield node
        return
    for child in node.children:
        yield from faults(child)


def main(names: list[str]) -> int:
    """Check the files, and return the exit code: 1 if one has a fault."""
    parser = Parser(Language(tree_sitter_bicep.language()))
    found = 0
    for name in names:
        for node in faults(parser.parse(EXTENSION.sub(b"", Path(name).read_bytes())).root_node):
            row, column = node.start_point
            print(f"{name}:{row + 1}:{column + 1}: not Bicep")
            found += 1
    return 1 if found or not names else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

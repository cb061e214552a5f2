"""Which connections and secrets a workflow uses: what it declares, else what is seen in its file. Pure."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field

from postern.authoring.uses import LONGEST_NAME
from postern.authoring.workflow import Workflow
from postern.catalog.likely_mistakes import parsed

MOST = 100
"""Names of a kind that are kept of a file."""


@dataclass(frozen=True, slots=True)
class Names:
    """Names in order. If they are `declared`, the workflow can use no others. If not, they were seen as literals in its
    file: other workflows of the file may be the ones that use them, and names that are put together are missing."""

    names: tuple[str, ...] = ()
    declared: bool = False


@dataclass(frozen=True, slots=True)
class Uses:
    """The connections of `postern.toml` and the secrets of the Key Vault that a workflow uses itself. The secrets by
    which its connections sign in are not among them."""

    connections: Names = field(default_factory=Names)
    secrets: Names = field(default_factory=Names)


NOTHING_SEEN = Uses()


def uses_of(workflow: Workflow, seen: Uses) -> Uses:
    """What the workflow declares, and what was `seen` in its file for what it leaves open."""
    connections, secrets = workflow.connections, workflow.secrets
    return Uses(
        seen.connections if connections is None else Names(connections, declared=True),
        seen.secrets if secrets is None else Names(secrets, declared=True),
    )


def seen_in(source: str) -> Uses:
    """The literals with which the file calls `.connection("...")` and `.secret("...")`. Nothing for a source that
    cannot be parsed, or only with more memory or depth than there is."""
    if "connection" not in source and "secret" not in source:
        return NOTHING_SEEN  # large files of data are not parsed a second time
    tree = parsed(source)
    if tree is None:
        return NOTHING_SEEN
    found: dict[str, set[str]] = {"connection": set(), "secret": set()}
    for method, name in _calls(tree):
        if method in found and len(found[method]) < MOST:
            found[method].add(name)
    return Uses(Names(tuple(sorted(found["connection"]))), Names(tuple(sorted(found["secret"]))))


def _calls(tree: ast.AST) -> Iterator[tuple[str, str]]:
    """Each call of a method with a name as its first argument, or as the argument `name`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            named = [each.value for each in node.keywords if each.arg == "name"]
            for first in (node.args or named)[:1]:
                if isinstance(first, ast.Constant) and isinstance(first.value, str) and _is_name(first.value):
                    yield node.func.attr, first.value


def _is_name(text: str) -> bool:
    return text.isprintable() and 1 <= len(text) <= LONGEST_NAME

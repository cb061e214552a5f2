"""Each fenced block of the project's pages is checked in the way of its kind, and a block of no known kind fails here.

Blocks called `console` are run, see `tests/deploy/test_pages.py`. Tests of single pages compare listings of Python with
files that are run. What is here holds for every block of every page."""

import ast
import inspect
import json
import re
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import trustme

from postern.gateway.agent.settings import load
from postern.settings import SettingsFault, load_settings
from tests.deploy.pages import pages
from tests.page_blocks import Block, blocks, inline_code, simple_commands, usage, wrong_command
from tests.process.preloaded import ROOT

pytestmark = pytest.mark.slow

POSTERN = ("postern", "/opt/postern/bin/postern", ".venv/bin/postern")
OTHERS = frozenset({"az", "cd", "claude", "curl", "echo", "export", "kubectl", "openssl", "pip", "python", "sha256sum"})
"""Programs of others, whose options are not checked here."""

UNCHECKED = {
    "csharp": "no compiler of .NET is here",
    "dockerfile": "an image is built in CI, and tests/deploy/test_dockerfile.py compares it with the Dockerfile",
    "ini": "units of systemd",
    "javascript": "no Node.js is here",
    "powershell": "no Windows is here",
    "sql": "it needs a PostgreSQL server of the reader's",
    "text": "it is no language",
}
"""The kinds of blocks that are not checked here, and why."""

ALL = [(page, (ROOT / page).read_text("utf-8")) for page in pages()]
BLOCKS = [block for page, text in ALL for block in blocks(page, text)]


def wrong_shell(block: Block) -> Iterator[str]:
    """Commands and options that do not exist, make targets that do not, and programs that no reader was told of."""
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    for words in simple_commands(block.text):
        words = [word for place, word in enumerate(words) if not _assigns(words[: place + 1])]
        if not words:
            continue
        if words[0] in POSTERN:
            if wrong := wrong_command(words[1:]):
                yield f"{' '.join(words)}: {wrong}"
        elif words[0] == "make":
            yield from (f"make {word}: there is no such target" for word in words[1:] if word not in targets)
        elif words[0] not in OTHERS:
            yield f"{words[0]}: not a known program"


def _assigns(words: list[str]) -> bool:
    """Whether these words only assign variables."""
    return all(re.match(r"[A-Za-z_]\w*=", word) for word in words)


AUTHORITY = trustme.CA()


def wrong_toml(block: Block, folder: Path) -> Iterator[str]:
    """What the server would say of this `postern.toml`, with values in place of `…`, or an agent of its
    `gateway.toml`. The files of certificates that it names are there."""
    for name in re.findall(r'"([\w-]+\.pem)"', block.text):
        AUTHORITY.cert_pem.write_to_path(folder / name)
        AUTHORITY.private_key_pem.write_to_path(folder / name, append=True)
        (folder / name).chmod(0o600)
    if block.text.startswith("# gateway.toml"):
        yield from _wrong_for_agent(block, folder)
        return
    text = re.sub(r'^(\s*url = )"…"', r'\1"https://host.example"', block.text, flags=re.MULTILINE)
    (folder / "postern.toml").write_text(text.replace("…", "00000000-0000-4000-8000-000000000000"), "utf-8")
    try:
        load_settings({}, folder=folder)
    except Exception as error:
        yield str(error)


def _wrong_for_agent(block: Block, folder: Path) -> Iterator[str]:
    path = folder / "gateway.toml"
    path.write_text(block.text, "utf-8")
    try:
        load(path)
    except SettingsFault as error:
        yield str(error)


def wrong_json(block: Block) -> Iterator[str]:
    """Whether it is JSON."""
    try:
        json.loads(block.text)
    except ValueError as error:
        yield str(error)


def wrong_python(block: Block) -> Iterator[str]:
    """Syntax, names that Postern does not have, and options that its functions do not take."""
    try:
        tree = ast.parse(block.text)
    except SyntaxError as error:
        yield str(error)
        return
    known: dict[str, Any] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "postern":
            module = import_module(str(node.module))
            for each in node.names:
                if not hasattr(module, each.name):
                    yield f"{node.module} has no {each.name}"
                known[each.asname or each.name] = getattr(module, each.name, None)
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and (of := known.get(node.func.id)):
            yield from (f"{node.func.id} has no {name}=" for name in _unknown(of, node))


def _unknown(function: Callable[..., Any], call: ast.Call) -> Iterator[str]:
    parameters = inspect.signature(function).parameters
    if not any(each.kind is inspect.Parameter.VAR_KEYWORD for each in parameters.values()):
        yield from (each.arg for each in call.keywords if each.arg and each.arg not in parameters)


def wrong_in(block: Block, folder: Path) -> list[str]:
    """What is wrong with a block."""
    checks: dict[str, Callable[[Block], Iterator[str]]] = {
        "console": lambda _: iter(()),
        "json": wrong_json,
        "python": wrong_python,
        "sh": wrong_shell,
        "toml": lambda each: wrong_toml(each, folder),
    }
    if block.kind in UNCHECKED:
        return []
    check = checks.get(block.kind)
    return [f"a block of the kind {block.kind!r} has no check"] if check is None else list(check(block))


def shown(block: Block, wrong: str) -> str:
    """A line of a failure."""
    return f"{block.page}:{block.line}: {wrong}"


def test_every_block_of_every_page_is_as_the_program_has_it(tmp_path: Path):
    assert [shown(block, wrong) for block in BLOCKS for wrong in wrong_in(block, tmp_path)] == []


def test_each_kind_that_is_checked_is_on_a_page_and_so_is_each_that_is_not():
    kinds = {block.kind for block in BLOCKS}
    assert kinds == {"console", "json", "python", "sh", "toml", *UNCHECKED}


def test_every_command_within_a_sentence_exists():
    wrong = [
        shown(code, f"`{code.text}`: {found}")
        for page, text in ALL
        for code in inline_code(page, text)
        if code.text.startswith("postern ")
        for words in simple_commands(usage(code.text))
        if words[:1] == ["postern"] and (found := wrong_command(words[1:])) and "requires an argument" not in found
    ]
    assert wrong == []


PAGE = """
```sh
postern list && echo "$(postern tokens)"   # a comment
postern runs list --nothing \\
    --since 2h
make nothing
frobnicate
A=1 postern nothing
```

1. A step:
   ```toml
   [connections.crm]
   nothing = "…"
   ```

```python
from postern import nothing, workflow
@workflow(nothing=1)
def f(ctx): ...
```

```json
{'a': 1}
```

```
postern list
```
"""


@pytest.mark.parametrize(
    ("number", "parts"),
    [
        (
            0,
            [
                "No such command 'tokens'",
                "No such option: --nothing",
                "make nothing",
                "frobnicate",
                "command 'nothing'",
            ],
        ),
        (1, ["connections.crm"]),
        (2, ["postern has no nothing", "workflow has no nothing="]),
        (3, ["Expecting property name"]),
        (4, ["'' has no check"]),
    ],
    ids=["shell", "settings", "Python", "JSON", "a kind that is not known"],
)
def test_what_is_wrong_with_a_block_is_found(number: int, parts: list[str], tmp_path: Path):
    found = wrong_in(blocks("page.md", PAGE)[number], tmp_path)
    assert len(found) == len(parts)
    assert [part for part, text in zip(parts, found, strict=True) if part not in text] == []

"""The fenced blocks and the inline code of the project's pages, and what is wrong with the commands in them. Nothing of
it is run: `tests/deploy/pages.py` runs the blocks called `console`."""

import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import typer

from postern.cli.commands import app

USAGE_ERROR: Any = typer.BadParameter.__mro__[1]
"""What a parser raises for an option that does not exist. typer does not export it."""

_BLOCK = re.compile(r"^(?P<indent> *)```(?P<kind>[^\n`]*)\n(?P<text>.*?)^(?P=indent)```$", re.MULTILINE | re.DOTALL)
_INLINE = re.compile(r"(?<!`)`([^`]+)`(?!`)")
_SUBSTITUTED = re.compile(r"\$\(([^()]*)\)")
_ANSWERED_AT_ONCE = frozenset({"--help", "-h", "--version"})
_ENDS = frozenset({"|", "||", "&&", ";", "&", "do", "then", "else", "done", "fi"})
_REDIRECTED = frozenset({">", ">>", "<"})


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block of a page, from the line of its fence on. `kind` is the word behind the fence."""

    page: str
    line: int
    kind: str
    text: str


def blocks(page: str, text: str) -> list[Block]:
    """The blocks of a page."""
    return [
        Block(
            page,
            text[: found.start()].count("\n") + 1,
            found["kind"],
            re.sub(f"^{found['indent']}", "", found["text"], flags=re.MULTILINE),
        )
        for found in _BLOCK.finditer(text)
    ]


def inline_code(page: str, text: str) -> list[Block]:
    """The code between single backticks."""
    around = _BLOCK.sub(lambda found: "\n" * found[0].count("\n"), text)
    return [
        Block(page, around[: found.start()].count("\n") + 1, "inline", " ".join(found[1].split()))
        for found in _INLINE.finditer(around)
    ]


def simple_commands(text: str) -> Iterator[list[str]]:
    """The words of each command of a shell text, also of those in `$(…)`."""
    for inner in _SUBSTITUTED.findall(text):
        yield from simple_commands(inner)
    text = _SUBSTITUTED.sub("SUBSTITUTED", text).replace("\\\n", " ")
    for line in _lines(text):
        words: list[str] = []
        redirected = False
        for word in line:
            if word in _ENDS:
                yield words
                words = []
            elif word not in _REDIRECTED and not redirected:
                words.append(word)
            redirected = word in _REDIRECTED
        yield words


def _lines(text: str) -> Iterator[list[str]]:
    """The words of each line; a quoted text may have several lines."""
    waiting = ""
    for line in text.splitlines():
        waiting += line
        lexer = shlex.shlex(waiting, posix=True, punctuation_chars="|&;<>")
        lexer.whitespace_split, lexer.commenters = True, "#"
        try:
            yield list(lexer)
        except ValueError:  # a quote that is still open
            waiting += "\n"
        else:
            waiting = ""
    if waiting:
        raise ValueError("a quote is not closed")


def wrong_command(words: Sequence[str]) -> str:
    """What is wrong with a command of `postern`, "" if nothing is: it and its options exist. The commands' own parsers
    are asked."""
    command, rest = typer.main.get_command(app), [word for word in words if word not in _ANSWERED_AT_ONCE]
    context: Any = None
    try:
        while rest or context is not None:
            made: Any = command
            context = made.context_class(command, parent=context, info_name="postern", **made.context_settings)
            if not hasattr(made, "resolve_command"):
                made.make_parser(context).parse_args(rest)
                break
            made.parse_args(context, rest)
            if not (rest := [*context._protected_args, *context.args]):
                break
            _, command, rest = made.resolve_command(context, rest)
    except USAGE_ERROR as error:
        return str(error.format_message())
    return ""


def usage(text: str) -> str:
    """A line that says how a command is used, as a command: with all that may be left out."""
    return re.sub(r"(?<=\S)\\?\|(?=\S)", " ", re.sub(r"[\[\]]", "", text))

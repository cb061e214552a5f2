"""Reads a Dockerfile and its .dockerignore, as much of both as this project's own files use.

An unsupported line is an error that names it, and never skipped, so that the result is the same as an engine's.
Source: the Dockerfile reference, docs.docker.com/reference/dockerfile.
"""

import json
import re
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from string import Template

_FLAG = re.compile(r"--([a-z-]+)=(\S+)\s+")
_DIRECTIVE = re.compile(r"#\s*(escape|syntax|check)\s*=")


class NotUnderstood(Exception):
    """A line of the Dockerfile that is not supported. The message names it."""


@dataclass(frozen=True, slots=True)
class Instruction:
    """One instruction: its line, its name in capitals, its flags, and what follows."""

    line: int
    name: str
    flags: tuple[tuple[str, str], ...]
    text: str

    def flag(self, name: str) -> str | None:
        """The value of a flag that may occur once."""
        return dict(self.flags).get(name)

    def fault(self, why: str) -> NotUnderstood:
        """The error for an instruction that cannot be performed."""
        return NotUnderstood(f"Dockerfile line {self.line}: {self.name} {why}")

    def exec_form(self) -> list[str] | None:
        """The words of the exec form, which is a list in JSON; None for the shell form."""
        if not self.text.startswith("["):
            return None
        try:
            words = json.loads(self.text)
        except ValueError:
            raise self.fault("begins like a list, but is not valid JSON") from None
        if not words or not all(isinstance(word, str) for word in words):
            raise self.fault("is not a list of strings")
        return list(words)

    def words(self, values: Mapping[str, str]) -> list[str]:
        """The words, with quotes removed and variables replaced."""
        return [self.filled(word, values) for word in shlex.split(self.text)]

    def pairs(self, values: Mapping[str, str]) -> dict[str, str]:
        """The words NAME=VALUE, as a table."""
        found = [word.partition("=") for word in self.words(values)]
        if not found or not all(name and middle for name, middle, _ in found):
            raise self.fault("is not a row of NAME=VALUE")
        return {name: value for name, _, value in found}

    def filled(self, text: str, values: Mapping[str, str]) -> str:
        """The text with ${NAME} and $NAME replaced. A variable that is not set is an error here, not an empty text."""
        try:
            return Template(text).substitute(values)
        except (KeyError, ValueError) as error:
            raise self.fault(f"has a variable that is not set, or is more than a name: {error}") from None


@dataclass(frozen=True, slots=True)
class Stage:
    """A FROM and its instructions. `name` is "" if it has none."""

    image: str
    name: str
    start: Instruction
    steps: tuple[Instruction, ...]


def read_instructions(text: str) -> list[Instruction]:
    """The instructions of a Dockerfile, with continued lines joined. Raises NotUnderstood."""
    found: list[Instruction] = []
    parts: list[str] = []
    begin = 0
    for number, line in enumerate(text.splitlines(), start=1):
        if line.lstrip().startswith("#"):
            if _DIRECTIVE.match(line.lstrip()) and not found and not parts:
                raise NotUnderstood(f"Dockerfile line {number}: a directive, which is not supported here")
            continue
        if not line.strip():
            continue
        begin = begin or number
        parts.append(line.rstrip().removesuffix("\\").strip())
        if not line.rstrip().endswith("\\"):
            found.append(_instruction(begin, " ".join(parts)))
            parts, begin = [], 0
    if parts:
        raise NotUnderstood(f"Dockerfile line {begin}: it does not end")
    return found


def stages_of(instructions: Iterable[Instruction]) -> tuple[dict[str, str], list[Stage]]:
    """The arguments before the first FROM, with their defaults, and the stages in order."""
    shared: dict[str, str] = {}
    stages: list[tuple[str, str, Instruction, list[Instruction]]] = []
    for each in instructions:
        if each.name == "FROM":
            words = each.words(shared)
            if each.flags or len(words) not in (1, 3) or (len(words) == 3 and words[1].upper() != "AS"):
                raise each.fault("is not FROM image or FROM image AS name")
            stages.append((words[0], words[2] if len(words) == 3 else "", each, []))
        elif stages:
            stages[-1][3].append(each)
        elif each.name == "ARG":
            shared |= each.pairs(shared)
        else:
            raise each.fault("is before the first FROM")
    return shared, [Stage(image, name, start, tuple(steps)) for image, name, start, steps in stages]


def needed(stages: list[Stage], target: str | None) -> list[Stage]:
    """The stages that the target needs, with the target last. By default it is the last stage of the file. Raises
    NotUnderstood if there is no stage of that name."""
    names = {stage.name: stage for stage in stages if stage.name}
    if target is not None and target not in names:
        raise NotUnderstood(f"the Dockerfile has no stage {target}: it has {', '.join(names)}")
    last = stages[-1] if target is None else names[target]
    wanted = {id(last)}
    for stage in reversed(stages[: stages.index(last) + 1]):
        if id(stage) in wanted:
            used = {stage.image, *(step.flag("from") or "" for step in stage.steps)}
            wanted |= {id(names[name]) for name in used & names.keys()}
    return [stage for stage in stages if id(stage) in wanted]


class Ignored:
    """The files that COPY does not see, by the lines of a .dockerignore. The last matching line decides."""

    def __init__(self, text: str) -> None:
        lines = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]
        self._rules = [(_pattern(line.removeprefix("!")), not line.startswith("!")) for line in lines]

    def __contains__(self, path: PurePosixPath) -> bool:
        left_out = False
        for pattern, leaves_out in self._rules:
            if pattern.fullmatch(str(path)):
                left_out = leaves_out
        return left_out


def _instruction(line: int, text: str) -> Instruction:
    name, _, rest = text.partition(" ")
    rest = rest.strip()
    flags = []
    while flag := _FLAG.match(rest):
        flags.append((flag[1], flag[2]))
        rest = rest[flag.end() :]
    made = Instruction(line, name.upper(), tuple(flags), rest)
    if "<<" in rest:
        raise made.fault("has a here-document (<<), which is not supported here")
    return made


def _pattern(line: str) -> re.Pattern[str]:
    """`*` and `?` do not match a slash, `**` does. A pattern that matches a folder matches everything below it."""
    parts = re.split(r"(\*\*/|\*\*|\*|\?)", line.strip("/"))
    meant = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    return re.compile("".join(meant.get(part, re.escape(part)) for part in parts) + "(?:/.*)?")

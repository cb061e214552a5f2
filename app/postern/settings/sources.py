"""Reads settings from the environment, `.env` and `postern.toml`, with the place of every value.

Only names and syntax are checked here. Problems are collected, not raised, so that an operator sees all of them at
once.
"""

import difflib
import re
import tomllib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from typing import Any

from dotenv.parser import Binding, parse_stream

from postern.errors import UserFault

PREFIX = "POSTERN_"
TEST_PREFIX = "POSTERN_TEST_"
TABLES = ("people", "gateways", "connections", "triggers", "auth_contexts", "findings", "access", "limits")

_SERVICE_LINK = re.compile(r"POSTERN_(SERVICE_HOST|(SERVICE_)?PORT_.*|SERVICE_PORT)")
_PLAIN_NAME = re.compile(r"[\w.\-]+", re.ASCII)
_TOML_TABLE = re.compile(r"\s*\[([^\[\]]+)\]")
_TOML_KEY = re.compile(r"\s*([^\s=#\[]+)\s*=")

SERVICE_LINK_FIX = (
    "Kubernetes sets such names in its pods for a service called postern: "
    "set enableServiceLinks: false in the pod's specification"
)

Place = tuple[str, ...]
"""The path to a value: ("port",) for a plain setting, ("people", "lisa") for an entry of a table."""


@dataclass(frozen=True, slots=True)
class SettingProblem:
    """One problem: the setting, its place, the problem and the fix."""

    setting: str
    source: str
    wrong: str
    fix: str

    def __str__(self) -> str:
        source = f" ({self.source}):" if self.source else ""
        return f"{self.setting}{source} {self.wrong}. {self.fix}" + ("" if self.fix.endswith("?") else ".")


class SettingsFault(UserFault, ValueError):
    """The settings cannot be used. `problems` has all problems, and the text has one line for each."""

    def __init__(self, problems: Iterable[SettingProblem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(map(str, self.problems)))


@dataclass(frozen=True, slots=True)
class Found:
    """A value and its place. `lines` has the line numbers of the keys below it in a TOML file."""

    value: Any = field(repr=False)
    setting: str
    source: str
    lines: Mapping[Place, int] = field(default_factory=dict, repr=False)

    def at(self, place: Place) -> tuple[str, str]:
        """The setting and the source of `place`, which is this value or a key below it."""
        if self.setting.startswith(PREFIX):
            return self.setting, self.source
        known = next((self.lines[place[:n]] for n in range(len(place), 0, -1) if place[:n] in self.lines), None)
        return ".".join(map(printable, place)), f"{self.source} line {known}" if known else self.source


Layer = dict[Place, Found]


def read_environment(environ: Mapping[str, str], names: Collection[str], problems: list[SettingProblem]) -> Layer:
    """The POSTERN_ variables of `environ`. An empty one counts as unset."""
    layer: Layer = {}
    for variable, value in sorted(environ.items()):
        _take_variable(layer, variable, value, "environment", names, problems)
    return layer


def read_dotenv(path: Path, names: Collection[str], problems: list[SettingProblem]) -> Layer:
    """The POSTERN_ variables of a `.env` file, which need not exist. Other variables in it are ignored, and `${NAME}`
    is not expanded."""
    layer: Layer = {}
    text = _read(path, ".env", problems)
    if text is None:
        return layer
    for binding in parse_stream(StringIO(text)):
        source = f".env line {_line(binding)}"
        if binding.error:
            problems.append(
                SettingProblem(".env", source, "the line cannot be read", "Write NAME=value, quotes closed")
            )
        elif binding.key is None:
            continue
        elif binding.value is None and binding.key.startswith(PREFIX):
            problems.append(SettingProblem(printable(binding.key), source, "has no value", "Write NAME=value"))
        else:
            _take_variable(layer, binding.key, binding.value or "", source, names, problems)
    return layer


def read_toml(path: Path, names: Collection[str], problems: list[SettingProblem], *, named_by: Found | None) -> Layer:
    """The keys of `postern.toml`, tables entry by entry. A missing file is a problem only if `named_by` is the setting
    that names it."""
    layer: Layer = {}
    text = _read(path, path.name, problems, named_by)
    if text is None:
        return layer
    try:
        document = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        found = re.search(r"\(at line (\d+)", str(error))
        last = len(text.splitlines()) if "end of document" in str(error) else ""
        number = found[1] if found else last
        source = f"{path.name} line {number}" if number else path.name
        why = str(error).partition(" (at ")[0] if isinstance(error, tomllib.TOMLDecodeError) else "it cannot be read"
        problems.append(SettingProblem(path.name, source, f"is not valid TOML: {why}", "Correct the file"))
        return layer
    lines = _toml_lines(text)
    for key, value in document.items():
        if key in TABLES and isinstance(value, dict):
            layer |= {(key, name): Found(entry, key, path.name, lines) for name, entry in value.items()}
        elif key == "config":
            setting, source = Found(value, key, path.name, lines).at((key,))
            problems.append(SettingProblem(setting, source, "cannot be set here", f"Set {PREFIX}CONFIG instead"))
        elif key in TABLES or key in names:
            layer[key,] = Found(value, key, path.name, lines)
        else:
            setting, source = Found(value, key, path.name, lines).at((key,))
            fix = did_you_mean(key.lower().removeprefix(PREFIX.lower()), [*names, *TABLES])
            problems.append(SettingProblem(setting, source, "is not a setting", fix))
    return layer


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The fix for an unknown name."""
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f"Did you mean {near[0]}?" if near else "Leave it out"


def printable(name: str) -> str:
    """A name for showing: quoted and escaped if it has anything but letters, digits, dots and hyphens."""
    return name if _PLAIN_NAME.fullmatch(name) else ascii(name)


def _take_variable(
    layer: Layer, variable: str, value: str, source: str, names: Collection[str], problems: list[SettingProblem]
) -> None:
    if not variable.upper().startswith(PREFIX) or variable.startswith(TEST_PREFIX):
        return
    name = variable.removeprefix(PREFIX).lower()
    if variable == PREFIX + name.upper() and name in names:
        if value:
            layer[name,] = Found(value, variable, source)
        return
    if _SERVICE_LINK.fullmatch(variable):
        fix = SERVICE_LINK_FIX
    elif name in TABLES:
        fix = f"Write the table [{name}] in postern.toml"
    else:
        fix = did_you_mean(variable.upper(), [PREFIX + known.upper() for known in names])
    problems.append(SettingProblem(printable(variable), source, "is not a setting", fix))


def _read(path: Path, title: str, problems: list[SettingProblem], named_by: Found | None = None) -> str | None:
    setting, source = (named_by.setting, named_by.source) if named_by else (title, title)
    try:
        return path.read_text("utf-8-sig")
    except FileNotFoundError:
        if named_by:
            problems.append(
                SettingProblem(setting, source, f"there is no file {str(path)!r}", "Set it to a file that exists")
            )
    except UnicodeDecodeError:
        problems.append(SettingProblem(setting, source, "the file is not text in UTF-8", "Save it as UTF-8"))
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or "not a file name"
        problems.append(
            SettingProblem(setting, source, f"the file cannot be read: {why}", "Check the file and its permissions")
        )
    return None


def _line(binding: Binding) -> int:
    """The line on which the binding itself begins. Its original text starts with the blank lines above it."""
    written = binding.original.string
    return binding.original.line + written[: len(written) - len(written.lstrip())].count("\n")


def _toml_lines(text: str) -> dict[Place, int]:
    """The line of each key and table. It matches lines and does not parse TOML, which is enough to name a line."""
    lines: dict[Place, int] = {}
    table: Place = ()
    for number, line in enumerate(text.splitlines(), start=1):
        if header := _TOML_TABLE.match(line):
            table = _keys(header[1])
            lines.setdefault(table, number)
        elif key := _TOML_KEY.match(line):
            lines.setdefault(table + _keys(key[1]), number)
    return lines


def _keys(dotted: str) -> Place:
    return tuple(part.strip().strip("\"'") for part in dotted.split("."))

"""Makes the Version of a module, or the Flaw that prevents one."""

import ast
import inspect
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import ModuleType

from postern.authoring.signature import WorkflowFault
from postern.authoring.workflow import Workflow
from postern.catalog.fixes import fix_of
from postern.catalog.likely_mistakes import Advice, first_workflow, likely_mistakes, parsed, why_missing, without_access
from postern.catalog.modules import Generation, TooSlow, Unreadable
from postern.catalog.snapshot import Flaw, Policies, Trigger, Version, duplicate
from postern.catalog.sources import PACKAGE, Hashes, Source
from postern.catalog.trial import Stopped
from postern.catalog.uses import Uses, seen_in, uses_of

_LARGE = 100_000
"""Characters: the parser holds the interpreter, and with it all requests."""
_LONGEST_MESSAGE = 500
"""Characters of an exception's message that are kept."""


def version_of(
    source: Source, folder: Path, generation: Generation, bind: Callable[[Workflow], Policies], hashes: Hashes
) -> Version | Flaw:
    """The version of the file, or its flaw. Every exception of the import is caught here."""
    try:
        module = generation.load(source.module)
    except BaseException as error:  # SystemExit of a module is a fault of the module
        return flaw_of(error, source.file, folder)
    workflows = _workflows(module)
    if not workflows:
        return Flaw(*why_missing(parsed(_text_of(source)) or ast.Module([], [])))
    if hidden := _hidden(source, module):
        return hidden
    triggers: dict[str, Trigger] = {}
    seen: dict[str, Uses] = {}
    advice: dict[str, tuple[Advice, ...]] = {}
    for workflow in workflows:
        if workflow.name in triggers:
            first = triggers[workflow.name]
            return duplicate(workflow.name, workflow.line, first.file, first.workflow.line)
        try:
            policy, signals = bind(workflow)
        except Exception as error:  # one workflow that cannot be bound must not stop the others
            return Flaw(workflow.line, _cause(error), fix_of(error, source.file, folder))
        written = workflow.function.__module__  # in a package, another module than the package itself
        if written not in seen:
            text = generation.get_source(written) or ""
            seen[written], advice[written] = seen_in(text), advice_of(text)
        file, uses = _written_in(workflow, source), uses_of(workflow, seen[written])
        changes = generation.context_changes
        code = hashes.of(file), hashes.helpers
        triggers[workflow.name] = Trigger(workflow, policy, file, changes, uses, *code, signals, advice[written])
    return Version(triggers)


def not_loaded(source: Source, is_package: bool, is_imported: bool) -> Flaw | None:
    """The flaw of a file in a subfolder whose workflows are not served, because its subfolder is no package, or the
    package does not import it. Files and folders that begin with `_` are helpers."""
    names = source.module.split(".")[1:]
    tree = parsed(_text_of(source))
    line = first_workflow(tree) if tree else None
    if is_imported or line is None or any(name.startswith("_") for name in names):
        return None
    package = names[0]
    adds = f"`from {PACKAGE}.{'.'.join(names)} import ...`"
    cause = f"{package}/__init__.py does not import it" if is_package else f"{package} has no __init__.py"
    return Flaw(
        line,
        f"The workflows of this file are not served: {cause}.",
        f"Move the file out of {package}, or write {package}/__init__.py with {adds}.",
    )


def bound_again(version: Version, bind: Callable[[Workflow], Policies]) -> Version:
    """The version with the policies of now, for a file that falls back to it. A workflow whose access mode cannot be
    bound any more is left out: it must not go on with the callers of before."""
    triggers = {}
    for name, trigger in version.triggers.items():
        with suppress(Exception):
            policy, signals = bind(trigger.workflow)
            triggers[name] = replace(trigger, policy=policy, signals=signals)
    return Version(triggers)


def advice_of(text: str) -> tuple[Advice, ...]:
    """What the author of a source most probably forgot. Large files, which are data, are not parsed for it."""
    tree = parsed(text) if len(text) <= _LARGE else None
    return (*likely_mistakes(tree), *without_access(tree)) if tree else ()


def clash_of_files(source: Source) -> Flaw:
    """The flaw of `orders.py` and `orders/__init__.py`, which are one module to Python."""
    name = source.module.rpartition(".")[2]
    return Flaw(
        None,
        f"{name}.py and {name}/__init__.py are both the module {source.module}.",
        "Rename or remove one of the two.",
    )


def flaw_of_trial(stopped: Stopped) -> Flaw:
    """The flaw of a module whose import was stopped before it reached the server."""
    why = f"{stopped.why[:1].upper()}{stopped.why[1:]}."
    return Flaw(stopped.line, why, "Move slow work from the top of the module into the workflow's function.")


def flaw_of(error: BaseException, file: Path, folder: Path) -> Flaw:
    """The flaw for an exception that the import of the file raised."""
    frames = traceback.extract_tb(error.__traceback__)
    line = next((frame.lineno for frame in reversed(frames) if frame.filename == str(file)), None)
    where = next(((frame.filename, frame.lineno) for frame in reversed(frames) if _below(folder, frame.filename)), None)
    if isinstance(error, SyntaxError) and error.filename and _below(folder, error.filename):
        where = (error.filename, error.lineno)
    elif isinstance(error, Unreadable):
        where = (str(error.file), error.line)
    elif isinstance(error, TooSlow):
        where = (str(file), error.line)
    outside = not isinstance(error, SyntaxError | Unreadable | TooSlow | WorkflowFault)
    if where is None or where[0] == str(file):
        return Flaw(where[1] if where else line, _cause(error), fix_of(error, file, folder), outside)
    elsewhere = Path(where[0]).relative_to(folder)
    place = f"{elsewhere}, line {where[1]}" if where[1] else str(elsewhere)
    fix = f"{fix_of(error, Path(where[0]), folder)} The error is in {elsewhere}, which this file imports.".lstrip()
    return Flaw(line, f"{_cause(error)} ({place})", fix, outside)


def _workflows(module: ModuleType) -> list[Workflow]:
    """The workflows that are defined in this module, or below it if it is a package. An imported workflow belongs to
    its own file."""
    own = f"{module.__name__}."
    found = {
        id(value): value
        for value in vars(module).values()
        if isinstance(value, Workflow) and f"{value.function.__module__}.".startswith(own)
    }
    return sorted(found.values(), key=lambda workflow: workflow.line)


def _hidden(source: Source, module: ModuleType) -> Flaw | None:
    """The flaw of a function with the name of a workflow above it, which it would replace without notice."""
    first_lines: dict[str, int] = {}
    tree = parsed(_text_of(source))
    for node in tree.body if tree else ():
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) or not node.decorator_list:
            continue
        line = node.decorator_list[0].lineno
        if node.name in first_lines and isinstance(vars(module).get(node.name), Workflow):
            above = f"{source.file}, line {first_lines[node.name]}"
            return Flaw(
                line,
                f"The function {node.name!r} is also defined in {above}, and replaces that one.",
                "Rename one of the two functions.",
            )
        first_lines.setdefault(node.name, line)
    return None


def _text_of(source: Source) -> str:
    return source.content.decode("utf-8-sig", "replace")


def _written_in(workflow: Workflow, source: Source) -> Path:
    written = Path(inspect.unwrap(workflow.function).__code__.co_filename)
    return written if source.is_package and _below(source.file.parent, str(written)) else source.file


def _below(folder: Path, filename: str) -> bool:
    return Path(filename).is_relative_to(folder)


def _cause(error: BaseException) -> str:
    message = " ".join(_message(error).split())
    if len(message) > _LONGEST_MESSAGE:
        message = message[:_LONGEST_MESSAGE] + "…"
    if isinstance(error, Unreadable | TooSlow):
        return f"{message[:1].upper()}{message[1:]}."
    return f"{type(error).__name__}: {message}" if message else type(error).__name__


def _message(error: BaseException) -> str:
    if isinstance(error, SyntaxError):
        return error.msg
    try:
        return str(error)
    except Exception:  # an author's exception may fail to describe itself
        return ""

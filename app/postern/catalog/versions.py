"""Makes the Version of a module, or the Flaw that prevents one."""

import ast
import inspect
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import ModuleType

from postern.access import AccessFault
from postern.authoring.signature import WorkflowFault
from postern.authoring.workflow import Workflow
from postern.catalog.modules import Generation, TooSlow, Unreadable
from postern.catalog.snapshot import Flaw, Policies, Trigger, Version, duplicate
from postern.catalog.sources import PACKAGE, Hashes, Source
from postern.catalog.trial import Stopped
from postern.catalog.uses import Uses, seen_in, uses_of

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
        return Flaw(
            None,
            "No workflow is defined in this file.",
            "Write @workflow above a function, or begin the file's name with _ if other files import it.",
        )
    if hidden := _hidden(source, module):
        return hidden
    triggers: dict[str, Trigger] = {}
    seen: dict[str, Uses] = {}
    for workflow in workflows:
        if workflow.name in triggers:
            first = triggers[workflow.name]
            return duplicate(workflow.name, workflow.line, first.file, first.workflow.line)
        try:
            policy, signals = bind(workflow)
        except Exception as error:  # one workflow that cannot be bound must not stop the others
            return Flaw(workflow.line, _cause(error), _fix(error, source.file, folder))
        written = workflow.function.__module__  # in a package, another module than the package itself
        if written not in seen:
            seen[written] = seen_in(generation.get_source(written) or "")
        file, uses = _written_in(workflow, source), uses_of(workflow, seen[written])
        changes = generation.context_changes
        code = hashes.of(file), hashes.helpers
        triggers[workflow.name] = Trigger(workflow, policy, file, changes, uses, *code, signals)
    return Version(triggers)


def not_loaded(source: Source, is_package: bool, is_imported: bool) -> Flaw | None:
    """The flaw of a file in a subfolder whose workflows are not served, because its subfolder is no package, or the
    package does not import it. Files and folders that begin with `_` are helpers."""
    names = source.module.split(".")[1:]
    line = _first_workflow(source)
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


def _first_workflow(source: Source) -> int | None:
    """The line of the first function with `@workflow`. None if there is none, or the file is no Python."""
    try:
        body = ast.parse(source.content).body
    except (SyntaxError, ValueError):
        return None
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            for decorator in node.decorator_list:
                called = decorator.func if isinstance(decorator, ast.Call) else decorator
                if (called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")) == "workflow":
                    return decorator.lineno
    return None


def bound_again(version: Version, bind: Callable[[Workflow], Policies]) -> Version:
    """The version with the policies of now, for a file that falls back to it. A workflow whose access mode cannot be
    bound any more is left out: it must not go on with the callers of before."""
    triggers = {}
    for name, trigger in version.triggers.items():
        with suppress(Exception):
            policy, signals = bind(trigger.workflow)
            triggers[name] = replace(trigger, policy=policy, signals=signals)
    return Version(triggers)


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
        return Flaw(where[1] if where else line, _cause(error), _fix(error, file, folder), outside)
    elsewhere = Path(where[0]).relative_to(folder)
    place = f"{elsewhere}, line {where[1]}" if where[1] else str(elsewhere)
    fix = f"{_fix(error, Path(where[0]), folder)} The error is in {elsewhere}, which this file imports.".lstrip()
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
    for node in ast.parse(source.content).body:
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


def _name_of_own(name: str, file: Path, folder: Path) -> str:
    """The name of a module of the folder that the file imported by another name, as scripts do. "" if it is none."""
    head = name.partition(".")[0]
    for place in (file.parent, folder):
        if place.is_relative_to(folder) and ((place / f"{head}.py").is_file() or (place / head).is_dir()):
            return ".".join((PACKAGE, *place.relative_to(folder).parts, name))
    return ""


def _fix_of_import(error: ImportError, file: Path, folder: Path) -> str:
    name = error.name or ""
    package = name.partition(".")[0]
    if name == "app" and error.path is None:
        return "Write `from postern import ...`: the package was called `app` in release 0.1."
    if package in ("", PACKAGE):
        return "Correct the import, or add the missing module to the folder."
    if not isinstance(error, ModuleNotFoundError):
        return f"Correct the import, or install a version of {package!r} that has it, and restart the server."
    if name == folder.name:
        return f"Write `{PACKAGE}` in place of `{name}`: modules of the folder are imported below `{PACKAGE}`."
    if own := _name_of_own(name, file, folder):
        return f"Write `from {own} import ...`: modules of the folder are imported below `{PACKAGE}`."
    return f"Install {package!r} where the server runs, or correct the import. Then it is loaded by itself."


def _fix(error: BaseException, file: Path, folder: Path) -> str:
    match error:
        case WorkflowFault() | AccessFault():
            return ""  # the cause says what to do
        case SyntaxError():
            return "Correct the syntax at this line."
        case Unreadable(line=None) if "limit" in str(error):
            return "Move data into a file of its own, and code into several modules."
        case Unreadable(line=None):
            return "Give the user that runs the server read access to the file, and save it as text in UTF-8."
        case Unreadable():
            return "Save the file as text in UTF-8."
        case TooSlow():
            return "Move slow work from the top of the module into the workflow's function."
        case ImportError():
            return _fix_of_import(error, file, folder)
        case SystemExit() | KeyboardInterrupt():
            return 'Do not end the process on import: move that below `if __name__ == "__main__":` or leave it out.'
        case _:
            return "Correct the error at this line. Move work that can fail into the workflow's function."

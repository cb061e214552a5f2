"""How the author of a module fixes what its import raised."""

import builtins
import re
import sys
from collections.abc import Mapping
from inspect import signature
from pathlib import Path
from types import FunctionType, TracebackType
from typing import Any

from postern.access import AccessFault
from postern.authoring.signature import WorkflowFault
from postern.catalog.modules import TooSlow, Unreadable
from postern.catalog.sources import PACKAGE
from postern.near_names import near

_OWN = "postern"
_SYNTAX: Mapping[str, str] = {
    r"'await' outside async function|outside (of )?a?n? ?async(hronous)? function": (
        "Write `async def` in place of `def` for the function around this line."
    ),
    r"outside function": "Move it into the workflow's function.",
    r"was never closed": "Close the bracket that opens in this line.",
    r"unmatched|does not match opening": "Remove this bracket, or open it before.",
    r"unterminated .*string": "Close the text with the quotation mark that it begins with.",
    r"tabs and spaces|unindent does not match": (
        "Indent with four spaces a level, and with no tabs: most editors convert a file."
    ),
    r"expected an indented block": "Indent the lines that belong to it by four spaces.",
    r"unexpected indent": "Begin this line below the line before it, or end that one with a colon.",
    r"expected ':'": "Write a colon at the end of the line.",
    r"expected '\('": "Give the function a name of letters, digits and underscores, as in `book_room`.",
    r"(non-default argument|parameter without a default) follows": (
        "Write `*,` before this parameter, or leave out the default of the one before it."
    ),
}
"""What a message of the compiler has, and how to fix that."""


def fix_of(error: BaseException, file: Path, folder: Path) -> str:
    """What to do about an error in this file; "" if its text says so."""
    match error:
        case WorkflowFault() | AccessFault():
            return ""
        case SyntaxError():
            return _of_syntax(error)
        case Unreadable():
            return _of_unreadable(error)
        case TooSlow():
            return "Move slow work from the top of the module into the workflow's function."
        case ImportError():
            return _of_import(error, file, folder)
        case SystemExit() | KeyboardInterrupt():
            return 'Do not end the process on import: move that below `if __name__ == "__main__":` or leave it out.'
        case NameError():
            return _of_name(error)
        case TypeError() if found := _of_call(error):
            return found
        case _:
            return "Correct the error at this line. Move work that can fail into the workflow's function."


def _of_unreadable(error: Unreadable) -> str:
    if error.line is not None:
        return "Save the file as text in UTF-8."
    if "limit" in str(error):
        return "Move data into a file of its own, and code into several modules."
    return "Give the user that runs the server read access to the file, and save it as text in UTF-8."


def _of_syntax(error: SyntaxError) -> str:
    known = (fix for pattern, fix in _SYNTAX.items() if re.search(pattern, error.msg or ""))
    return next(known, "Correct the syntax at this line, or at the end of the line before it.")


def _of_name(error: NameError) -> str:
    name = error.name or ""
    if name in _own_names():
        return f"Write `from {_OWN} import {name}` at the top of the file."
    if meant := near(name, {*_names_at(error.__traceback__), *vars(builtins), *_own_names()}):
        add = f", and `from {_OWN} import {meant}` at the top of the file" if meant in _own_names() else ""
        return f"Write `{meant}` in place of `{name}`{add}; or define or import `{name}` above this line."
    return f"Define `{name}` above this line, or import it at the top of the file."


def _of_call(error: TypeError) -> str:
    """For a call of a function of Postern's with arguments that it does not take."""
    text = str(error)
    if marker := re.match(r"(Query|Header|Form)\.__init__\(\) (got an unexpected keyword|takes 1 positional)", text):
        takes = ", ".join(f"{each}=" for each in _options(marker[1]))
        return (
            f"{marker[1]}() takes {takes} only. Constraints are pydantic's, as in "
            f"`Annotated[int, {marker[1]}(), Field(ge=1)]`, and a default is behind `=`."
        )
    if unknown := re.match(r"(\w+)\(\) got an unexpected keyword argument '(\w+)'", text):
        options = _options(unknown[1])
        if meant := near(unknown[2], options):
            return f"Write `{meant}=` in place of `{unknown[2]}=`."
        return f"Leave out `{unknown[2]}=`. The options of {unknown[1]}() are {', '.join(options)}." if options else ""
    if re.match(r"(tenant_users|anonymous)\(\) takes 0 positional", text):
        return 'Name the people who may call it by `specific_users("lisa")`, or leave out what is in the brackets.'
    if re.match(r"'(Anonymous|TenantUsers|SpecificUsers)' object is not callable", text):
        return "Write `@workflow(access=...)` with this access mode above the function, as its only decorator."
    return ""


def _of_import(error: ImportError, file: Path, folder: Path) -> str:
    name = error.name or ""
    package = name.partition(".")[0]
    if name == "app" and error.path is None:
        return "Write `from postern import ...`: the package was called `app` in release 0.1."
    if wanted := _wanted(error):
        if meant := near(wanted, _names_of(name)):
            return f"Write `{meant}` in place of `{wanted}`."
        if package == _OWN:
            return f"Correct the import: `from {_OWN} import ...` has {', '.join(sorted(_own_names()))}."
        if package == PACKAGE:
            return f"Define `{wanted}` in that file, or correct its name here."
    if package in ("", PACKAGE):
        return "Correct the import, or add the missing module to the folder."
    if not isinstance(error, ModuleNotFoundError):
        return f"Correct the import, or install a version of {package!r} that has it, and restart the server."
    if name == folder.name:
        return f"Write `{PACKAGE}` in place of `{name}`: modules of the folder are imported below `{PACKAGE}`."
    if own := _name_of_own(name, file, folder):
        return f"Write `from {own} import ...`: modules of the folder are imported below `{PACKAGE}`."
    return (
        f"Install {package!r} where the server runs (in an image: workflows/requirements.txt), or correct the import. "
        "Then it is loaded by itself."
    )


def _name_of_own(name: str, file: Path, folder: Path) -> str:
    """The name of a module of the folder that the file imported by another name, as scripts do. "" if it is none."""
    head = name.partition(".")[0]
    for place in (file.parent, folder):
        if place.is_relative_to(folder) and ((place / f"{head}.py").is_file() or (place / head).is_dir()):
            return ".".join((PACKAGE, *place.relative_to(folder).parts, name))
    return ""


def _wanted(error: ImportError) -> str:
    """The name that a module does not have; "" if the module itself is missing."""
    found = re.match(r"cannot import name '(\w+)'", str(error))
    return found[1] if found else ""


def _names_of(module: str) -> set[str]:
    return _own_names() if module == _OWN else {name for name in dir(sys.modules.get(module)) if name[:1] != "_"}


def _own_names() -> set[str]:
    """The authors' API."""
    return set(getattr(sys.modules.get(_OWN), "__all__", ()))


def _options(function: str) -> list[str]:
    """The options of a function of the authors' API; none if it is not one."""
    found: Any = getattr(sys.modules.get(_OWN), function, None) if function in _own_names() else None
    takes = signature(found).parameters.values() if isinstance(found, FunctionType | type) else ()
    return [parameter.name for parameter in takes if parameter.kind is parameter.KEYWORD_ONLY]


def _names_at(trace: TracebackType | None) -> set[str]:
    """The names that the module had defined where the error was raised."""
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return set() if trace is None else {*trace.tb_frame.f_globals, *trace.tb_frame.f_locals}

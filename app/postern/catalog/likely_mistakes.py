"""What an author most probably forgot, as the source shows it: Python takes it, and it fails, or harms, when it runs.
Pure."""

import ast
from collections.abc import Iterator, Mapping
from typing import NamedTuple, TypeGuard

WAITS = frozenset({"approval", "call", "secret", "sleep", "step", "wait_for"})
"""Methods of the Context that are to be awaited."""
REQUESTS = frozenset({"delete", "get", "patch", "post", "put", "request"})
"""Methods of a connection's client that are to be awaited."""

_BLOCKING: Mapping[str, str] = {
    "time.sleep": "write `await asyncio.sleep(...)`",
    "requests.": "write `await ctx.connection(...).get(...)`, or `def` in place of `async def`",
    "urllib.request.urlopen": "write `await ctx.connection(...).get(...)`, or `def` in place of `async def`",
    "subprocess.run": "write `await asyncio.create_subprocess_exec(...)`, or `def` in place of `async def`",
    "subprocess.check_output": "write `await asyncio.create_subprocess_exec(...)`, or `def` in place of `async def`",
    "os.system": "write `await asyncio.create_subprocess_shell(...)`, or `def` in place of `async def`",
}
"""Calls that hold the event loop, and what to write in an `async def`."""

_TRIES = 3
_Function = ast.FunctionDef | ast.AsyncFunctionDef


class Advice(NamedTuple):
    """A line that most probably does not do what its author meant. It is `harmless` if it is safe as it is."""

    line: int
    cause: str
    fix: str
    harmless: bool = False


class Missing(NamedTuple):
    """Why a file has no workflow. `line` is None if it has nothing that looks like one."""

    line: int | None
    cause: str
    fix: str


def parsed(source: str) -> ast.Module | None:
    """The tree of a source. None if it is no Python, or needs more memory or depth than there is."""
    for _ in range(_TRIES):
        try:
            return ast.parse(source)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return None
        except SystemError:  # Python 3.11 counts the depth of two trees that are made at once together
            continue
    return None


def likely_mistakes(tree: ast.Module) -> tuple[Advice, ...]:
    """Coroutines that nothing awaits, calls that hold the event loop, and secrets that are printed."""
    own = frozenset(node.name for node in tree.body if isinstance(node, ast.AsyncFunctionDef))
    functions = (node for node in ast.walk(tree) if isinstance(node, _Function))
    return tuple(sorted({each for function in functions for each in _of_function(function, own)}))


def without_access(tree: ast.Module) -> tuple[Advice, ...]:
    """The functions whose `@workflow` does not say who may call them."""
    found: list[Advice] = []
    for node in filter(_is_function, tree.body):
        for decorator in node.decorator_list:
            named = {each.arg for each in decorator.keywords} if isinstance(decorator, ast.Call) else set()
            if is_workflow(decorator) and not named & {"access", None}:
                cause = f"{node.name}() has no access=, so any user or application of the tenant may call it."
                fix = "Write access=tenant_users() if that is meant, or access=anonymous() if anyone may call it."
                found.append(Advice(node.decorator_list[0].lineno, cause, fix, harmless=True))
    return tuple(found)


def first_workflow(tree: ast.Module) -> int | None:
    """The line of the first function with `@workflow`. None if there is none."""
    for node in filter(_is_function, tree.body):
        for decorator in node.decorator_list:
            if is_workflow(decorator):
                return decorator.lineno
    return None


def why_missing(tree: ast.Module) -> Missing:
    """Why a file that was imported has no workflow."""
    inner = [(each, node) for node in tree.body for each in ast.walk(node) if isinstance(each, _Function)]
    for each, node in inner:
        if each is not node and any(map(is_workflow, each.decorator_list)):
            name = getattr(node, "name", "")
            return Missing(
                each.decorator_list[0].lineno,
                f"No workflow is defined in this file: {each.name}() is inside of {name or 'another block'}.",
                "Move the function to the top level of the file, without indentation.",
            )
    for each, node in inner:
        if each is node and _context_of(each):
            return Missing(
                each.lineno,
                f"No workflow is defined in this file: {each.name}() has no @workflow.",
                "Write @workflow(access=...) above it, or begin the file's name with _ if other files import it.",
            )
    return Missing(
        None,
        "No workflow is defined in this file.",
        "Write @workflow above a function, or begin the file's name with _ if other files import it.",
    )


def is_workflow(decorator: ast.expr) -> bool:
    """Whether this is `@workflow`, with or without options."""
    called = decorator.func if isinstance(decorator, ast.Call) else decorator
    return (called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")) == "workflow"


def _is_function(node: ast.AST) -> TypeGuard[_Function]:
    return isinstance(node, _Function)


def _of_function(function: _Function, own: frozenset[str]) -> Iterator[Advice]:
    context, is_async = _context_of(function), isinstance(function, ast.AsyncFunctionDef)
    nodes = [*_own_nodes(function)]
    assigned = [node for node in nodes if isinstance(node, ast.Assign)]
    clients = _names(each for each in assigned if _is_method(each.value, context, frozenset({"connection"})))
    secrets = _names(each for each in assigned if _is_secret(each.value, context))
    for node in nodes:
        called = _unawaited(node, is_async=is_async)
        if called is not None and (what := _coroutine(called, context, clients, own)):
            place = "before it" if is_async else "before it, and `async def` in place of `def`"
            yield Advice(called.lineno, f"{what} is not awaited, so it does nothing.", f"Write `await` {place}.")
        if is_async and isinstance(node, ast.Call) and (found := _blocks(node)):
            yield Advice(
                node.lineno,
                f"{found[0]} holds all other requests while it waits.",
                f"{found[1][:1].upper()}{found[1][1:]}.",
            )
        if isinstance(node, ast.Call) and _prints(node) and _used(node) & secrets:
            yield Advice(
                node.lineno,
                "A secret is printed or logged here.",
                "Leave it out: what is printed is in the log, and can be in the run's record.",
            )


def _own_nodes(function: _Function) -> Iterator[ast.AST]:
    """The nodes of a function's body, without those of functions in it."""
    left: list[ast.AST] = [*function.body]
    while left:
        node = left.pop()
        yield node
        if not isinstance(node, _Function | ast.Lambda | ast.ClassDef):
            left += ast.iter_child_nodes(node)


def _context_of(function: _Function) -> str:
    """The name of the parameter that is the Context; "" if there is none."""
    for each in [*function.args.posonlyargs, *function.args.args]:
        kind = each.annotation
        named = kind.attr if isinstance(kind, ast.Attribute) else getattr(kind, "id", getattr(kind, "value", ""))
        if each.arg == "ctx" or named == "Context":
            return each.arg
    return ""


def _unawaited(node: ast.AST, *, is_async: bool) -> ast.Call | None:
    """A call whose result is used as if it were no coroutine: it is thrown away, returned, or a part of it is taken."""
    taken: ast.AST | None = None
    if isinstance(node, ast.Expr | ast.Attribute | ast.Subscript) or (isinstance(node, ast.Return) and is_async):
        taken = node.value
    return taken if isinstance(taken, ast.Call) else None


def _coroutine(call: ast.Call, context: str, clients: frozenset[str], own: frozenset[str]) -> str:
    """What a call is, if it makes a coroutine; else ""."""
    function = call.func
    if isinstance(function, ast.Name):
        return f"{function.id}()" if function.id in own else ""
    if not isinstance(function, ast.Attribute):
        return ""
    if _is_method(call, context, WAITS):
        return f"{context}.{function.attr}()"
    of_client = isinstance(function.value, ast.Name) and function.value.id in clients
    if function.attr in REQUESTS and (of_client or _is_method(function.value, context, frozenset({"connection"}))):
        return f"The request {function.attr}()"
    return ""


def _is_method(node: ast.AST, context: str, names: frozenset[str]) -> bool:
    """Whether this is a call of such a method of the context."""
    function = node.func if isinstance(node, ast.Call) else None
    of_context = isinstance(function, ast.Attribute) and getattr(function.value, "id", None) == context
    return bool(context) and of_context and getattr(function, "attr", "") in names


def _is_secret(node: ast.AST, context: str) -> bool:
    return isinstance(node, ast.Await) and _is_method(node.value, context, frozenset({"secret"}))


def _names(assigned: Iterator[ast.Assign]) -> frozenset[str]:
    return frozenset(target.id for each in assigned for target in each.targets if isinstance(target, ast.Name))


def _blocks(call: ast.Call) -> tuple[str, str] | None:
    """A call that holds the event loop, with what to write instead."""
    name = _dotted(call.func)
    fix = next(
        (fix for known, fix in _BLOCKING.items() if name == known or (known[-1] == "." and name.startswith(known))), ""
    )
    return (f"{name}()", fix) if fix else None


def _prints(call: ast.Call) -> bool:
    name = _dotted(call.func)
    return name == "print" or ".log." in name or name.startswith(("log.", "logger.", "logging."))


def _used(call: ast.Call) -> set[str]:
    given = [*call.args, *(each.value for each in call.keywords)]
    return {node.id for each in given for node in ast.walk(each) if isinstance(node, ast.Name)}


def _dotted(node: ast.AST) -> str:
    """`a.b.c` of an expression; "" for anything else."""
    if isinstance(node, ast.Name):
        return node.id
    inner = _dotted(node.value) if isinstance(node, ast.Attribute) else ""
    return f"{inner}.{node.attr}" if inner and isinstance(node, ast.Attribute) else ""

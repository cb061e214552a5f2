"""What modules change in the context that they are loaded in, such as the rounding of `decimal`, holds for their runs.

A decimal context is copied at each step: what one run changes in it must not reach the next.
"""

from collections.abc import Mapping
from contextvars import Context, ContextVar, copy_context
from decimal import Context as DecimalContext
from decimal import setcontext
from typing import Any

Changes = tuple[tuple["ContextVar[Any]", Any], ...]

_ABSENT = object()


def loading_context(found: Changes) -> Context:
    """A context to load modules in, with these changes. What the modules change in it reaches no other context."""
    context = copy_context()
    context.run(apply, (*context.items(), *found))
    return context


def values() -> Mapping["ContextVar[Any]", Any]:
    """The current context, as it is now."""
    return {variable: _kept(value) for variable, value in copy_context().items()}


def changes(before: Mapping["ContextVar[Any]", Any]) -> Changes:
    """The variables that are set now, and were not before or had another value."""
    return tuple(
        (variable, _kept(value))
        for variable, value in copy_context().items()
        if _differs(before.get(variable, _ABSENT), value)
    )


def apply(found: Changes) -> None:
    """Make the changes in the current context."""
    for variable, value in found:
        if isinstance(value, DecimalContext):
            setcontext(value.copy())
        else:
            variable.set(value)


def _kept(value: Any) -> Any:
    return value.copy() if isinstance(value, DecimalContext) else value


def _differs(before: Any, after: Any) -> bool:
    if isinstance(before, DecimalContext) and isinstance(after, DecimalContext):
        return repr(before) != repr(after)  # it has no equality of its own
    return before is not after

"""Texts of authors, callers and other systems, all of them hostile."""

from typing import Any

from postern import Context, anonymous, workflow

OWNED = "<img data-owned src=x onerror=alert('author')>"


class Upset(Exception):
    """Its name is chosen by what fails."""


def fail(text: str) -> None:
    """Fails with a type and a message of the caller."""
    raise type(text, (Upset,), {"__module__": "builtins"})(text)


@workflow(access=anonymous())
async def repeat(ctx: Context, texts: Any) -> Any:
    """<img data-owned src=x onerror=alert('docstring')> repeats what it gets."""
    for text in texts:
        await ctx.step(str, text, name=text)
    return texts


@workflow(access=anonymous())
async def upset(ctx: Context, text: str) -> None:
    """ "><script data-owned>alert('docstring')</script>"""
    await ctx.step(fail, text, name=text)

"""Consoles of Rich that print no hidden characters."""

from rich.console import Console, ConsoleOptions, ConsoleRenderable, RenderHook, RenderResult
from rich.segment import Segment

from postern.plain_text import plain


def plain_console(*, stderr: bool, width: int | None) -> Console:
    """A console of which nothing that is printed controls the terminal, or hides text."""
    made = Console(stderr=stderr, width=width)
    made.push_render_hook(_PlainOutput())
    return made


class _Plain:
    """What another renderable shows, with each hidden character as its code. Rich's own control codes pass."""

    def __init__(self, shown: ConsoleRenderable) -> None:
        self._shown = shown

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for text, style, control in console.render(self._shown, options):
            yield Segment(text if control else plain(text, lines=True), style, control)


class _PlainOutput(RenderHook):
    """Everything that a console prints passes here, so no command can forget it."""

    def process_renderables(self, renderables: list[ConsoleRenderable]) -> list[ConsoleRenderable]:
        return [_Plain(each) for each in renderables]

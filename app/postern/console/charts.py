"""Pictures as SVG without a viewBox: x and width are per cent, y and height are pixels. So they fill any width, their
text keeps its size, and they need no style attribute, which the pages' policy does not allow. Each says its figures as
text too. Pure."""

from collections.abc import Callable, Iterable, Sequence
from math import log10

from markupsafe import Markup

from postern.console.axis import Axis
from postern.console.words import clock, count, duration, state_words
from postern.journal.reading.activity import Minute
from postern.journal.run import Attempt, State

TOP = 8
HEIGHT = 92
FOOT = 18
WHOLE = TOP + HEIGHT + FOOT
LEAST = 0.0005
"""Seconds that a scale of durations begins with."""
DURATIONS = tuple(digit * 10.0**power for power in range(-4, 7) for digit in (1, 2, 5))
APART = 18
"""Pixels between two labels of a scale."""
ROOM_TO_THE_RIGHT = 0.88
"""Up to here a time of the day fits between its place and the end of a plot, on narrow screens too."""
MOST_SHOWN = 40
"""Attempts of a lane that are drawn. Of more, the first and the last ones are."""
MOST_SAID = 5
"""Attempts of a lane that are described one by one."""

SHAPES = {
    State.SUCCEEDED: Markup(
        '<circle cx="8" cy="8" r="7" class="s-fill"/><path d="M4.6 8.3 7 10.6 11.4 5.6" class="s-mark"/>'
    ),
    State.FAILED: Markup(
        '<path d="M8 .6 15.4 8 8 15.4.6 8Z" class="s-fill"/><path d="M8 4.4V8.8M8 11.1v.4" class="s-mark"/>'
    ),
    State.TIMED_OUT: Markup(
        '<circle cx="8" cy="8" r="6.2" class="s-line"/><path d="M8 4.2V8.2L10.8 9.8" class="s-line"/>'
    ),
    State.CANCELLED: Markup(
        '<circle cx="8" cy="8" r="6.2" class="s-line"/><path d="M3.8 12.2 12.2 3.8" class="s-line"/>'
    ),
    State.INTERRUPTED: Markup(
        '<path d="M2 5.4A6.4 6.4 0 0 1 10.6 2.2M14 10.6A6.4 6.4 0 0 1 5.4 13.8" class="s-line"/>'
        '<path d="M5.6 8H6.4M9.6 8H10.4" class="s-line"/>'
    ),
    State.RUNNING: Markup(
        '<circle cx="8" cy="8" r="6.2" class="s-line"/><path d="M8 3.6A4.4 4.4 0 0 1 8 12.4Z" class="s-fill"/>'
    ),
    State.WAITING: Markup('<circle cx="8" cy="8" r="6.2" class="s-line s-dots"/>'),
}
"""A state is told by its shape, its word and its colour. `<use>` takes no rules that select by where it is used, so
shapes take `currentcolor`."""


def sprite() -> Markup:
    """The shapes of the states. It is in each page once, and `state` refers to it."""
    symbols = (
        Markup('<symbol id="s-{}" viewBox="0 0 16 16">{}</symbol>').format(name.value, shape)
        for name, shape in SHAPES.items()
    )
    return Markup('<svg class="hidden" aria-hidden="true" width="0" height="0">{}</svg>').format(_joined(symbols))


def state(name: State) -> Markup:
    """The shape and the word of a state."""
    form = Markup('<span class="state {0}"><svg aria-hidden="true"><use href="#s-{0}"/></svg><span>{1}</span></span>')
    return form.format(name.value, state_words(name.value))


def percent(part: float) -> str:
    """A part of the width, from 0 to 1: `12.5%`."""
    return f"{part * 100:.2f}".rstrip("0").rstrip(".") + "%"


# Activity


def activity(minutes: Sequence[Minute], link: Callable[[Minute], str]) -> Markup:
    """Runs per minute, with those that failed in front. `link` gives the address of the runs of a minute."""
    most = nice(max((minute.total for minute in minutes), default=0))
    parts = (0.0, 0.5, 1.0) if most % 2 == 0 else (0.0, 1.0)
    scale = [(TOP + HEIGHT * (1 - part), count(round(most * part))) for part in parts]
    width = 1 / max(len(minutes), 1)
    bars = []
    for number, minute in enumerate(minutes):
        hit = Markup('<rect class="hit" x="{}" width="{}" height="{}"/>').format(
            percent(number * width), percent(width), TOP + HEIGHT
        )
        both = _bar(number * width, 0.72 * width, minute.total / most, "bar")
        failed = _bar(number * width, 0.72 * width, min(minute.failed, minute.total) / most, "bar failed")
        form = Markup('<a href="{}" tabindex="-1"><title>{}</title>{}{}{}</a>')
        bars.append(form.format(link(minute), in_words(minute), hit, both, failed))
    return _chart(f"Runs per minute: {total_words(minutes)}", "group", scale, [*bars, *_clock_ticks(minutes)])


def total_words(minutes: Sequence[Minute]) -> str:
    """How many runs there were, and how many of them failed."""
    total, failed = sum(minute.total for minute in minutes), sum(minute.failed for minute in minutes)
    about = "about " if any(minute.estimated for minute in minutes) else ""
    return f"{about}{count(total)} {'run' if total == 1 else 'runs'}, {count(failed)} failed"


def in_words(minute: Minute) -> str:
    """The runs of a minute as text."""
    return f"{clock(minute.at)}: {total_words([minute])}"


def nice(value: int) -> int:
    """The least of 1, 2 and 5, by a power of ten, that is not less."""
    power: int = 10 ** max(len(str(value)) - 1, 0)
    return next((digit * power for digit in (1, 2, 5) if digit * power >= value), 10 * power)


def _bar(x: float, width: float, part: float, kind: str) -> Markup:
    """A bar of the height `part`. One that is not nothing can be seen."""
    if part <= 0:
        return Markup("")
    height = round(max(HEIGHT * min(part, 1.0), 2.0), 1)
    form = Markup('<rect class="{}" x="{}" width="{}" y="{:g}" height="{:g}"/>')
    return form.format(kind, percent(x), percent(width), TOP + HEIGHT - height, height)


# Durations


def spread(minutes: Sequence[Minute]) -> Markup:
    """How long runs took: from the median to the 95th percentile of each minute, on a logarithmic scale."""
    known = [(number, minute.median, minute.most) for number, minute in enumerate(minutes) if minute.median is not None]
    ranges = [(number, max(low, LEAST), max(high or low, low, LEAST)) for number, low, high in known]
    scale = _scale([value for _, low, high in ranges for value in (low, high)])
    bottom, top = log10(scale[0]), log10(scale[-1])

    def y(seconds: float) -> float:
        return TOP + HEIGHT * (1 - (log10(min(max(seconds, scale[0]), scale[-1])) - bottom) / (top - bottom))

    drawn = []
    for number, low, high in ranges:
        x = percent((number + 0.36) / len(minutes))
        line = Markup('<line class="range" x1="{0}" x2="{0}" y1="{1:.1f}" y2="{2:.1f}"/>').format(x, y(low), y(high))
        dot = Markup('<circle class="dot" cx="{}" cy="{:.1f}"/>').format(x, y(low))
        drawn.append(Markup("<g><title>{}</title>{}{}</g>").format(_durations(minutes[number]), line, dot))
    last = f", {_durations(minutes[ranges[-1][0]])}" if ranges else ""
    words = f"Durations per minute, from the median to the 95th percentile{last}"
    labels = _apart([(y(each), duration(each).replace(".0 ", " ")) for each in scale])
    return _chart(words, "img", labels, [*drawn, *_clock_ticks(minutes)])


def _durations(minute: Minute) -> str:
    return f"{clock(minute.at)}: half within {duration(minute.median)}, 95 % within {duration(minute.most)}"


def _scale(values: Sequence[float]) -> list[float]:
    """From a round duration below all values to one above them, with the powers of ten between them."""
    low, high = min(values, default=0.01), max(values, default=1.0)
    below = max((each for each in DURATIONS[:-1] if each <= low), default=DURATIONS[0])
    above = min((each for each in DURATIONS if each >= high and each > below), default=DURATIONS[-1])
    return [below, *(each for each in DURATIONS[::3] if below < each < above), above]


def _apart(labels: Sequence[tuple[float, str]]) -> list[tuple[float, str]]:
    """The labels with room between them; the first and the last stay."""
    kept = [labels[0]]
    for each in labels[1:-1]:
        if kept[-1][0] - each[0] >= APART and each[0] - labels[-1][0] >= APART:
            kept.append(each)
    return [*kept, labels[-1]]


def _chart(words: str, role: str, labels: Sequence[tuple[float, str]], drawn: Iterable[Markup]) -> Markup:
    """A plot with its scale to the left, and a line at each label."""
    texts = (
        Markup('<text class="tick" x="100%" y="{:.0f}" text-anchor="end">{}</text>').format(y + 4, text)
        for y, text in labels
    )
    lines = (Markup('<line class="grid" x1="0" x2="100%" y1="{0:.1f}" y2="{0:.1f}"/>').format(y) for y, _ in labels)
    gutter = Markup('<svg class="gutter" aria-hidden="true" width="100%" height="{}">{}</svg>')
    plot = Markup('<svg class="plot" role="{}" aria-label="{}" width="100%" height="{}">{}{}</svg>')
    return Markup('<div class="chart">{}{}</div>').format(
        gutter.format(WHOLE, _joined(texts)), plot.format(role, words, WHOLE, _joined(lines), _joined(drawn))
    )


def _clock_ticks(minutes: Sequence[Minute]) -> list[Markup]:
    """The time of the day below, at each quarter of an hour. One near the end is left of its minute's end, so that it
    stays below the plot."""
    return [
        _clock_tick(number / len(minutes), (number + 1) / len(minutes), clock(minute.at))
        for number, minute in enumerate(minutes)
        if round(minute.at / 60) % 15 == 0
    ]


def _clock_tick(begin: float, end: float, text: str) -> Markup:
    y = TOP + HEIGHT + 14
    if begin > ROOM_TO_THE_RIGHT:
        return Markup('<text class="tick" x="{}" y="{}" text-anchor="end">{}</text>').format(percent(end), y, text)
    return Markup('<text class="tick" x="{}" y="{}">{}</text>').format(percent(begin), y, text)


# Timeline and chain


def ruler(axis: Axis) -> Markup:
    """The ticks above the lanes, and how long the stretches are that are cut out."""
    ticks = (
        Markup('<text class="tick" x="{}" y="12"{}>{}</text>').format(
            percent(x), Markup(' text-anchor="middle"') if x > 0.03 else "", label
        )
        for x, label in axis.ticks()
    )
    cuts = (
        Markup('<text class="tick cut" x="{}" y="12" text-anchor="middle">{}</text>').format(
            percent((axis.x(begin) + axis.x(end)) / 2), duration(end - begin)
        )
        for begin, end in axis.cuts
    )
    form = Markup('<svg class="ruler" aria-hidden="true" width="100%" height="18">{}{}</svg>')
    return form.format(_joined(ticks), _joined(cuts))


def backdrop(axis: Axis) -> Markup:
    """The lines of the ruler behind all lanes."""
    cuts = (
        Markup('<rect class="cutout" x="{}" width="{}" height="100%"/>').format(
            percent(axis.x(begin)), percent(axis.x(end) - axis.x(begin))
        )
        for begin, end in axis.cuts
    )
    lines = (
        Markup('<line class="grid" x1="{0}" x2="{0}" y1="0" y2="100%"/>').format(percent(x)) for x, _ in axis.ticks()
    )
    return Markup('<svg class="backdrop" aria-hidden="true">{}{}</svg>').format(_joined(cuts), _joined(lines))


def lane(axis: Axis, attempts: Sequence[Attempt], kind: str = "") -> Markup:
    """One row: attempts as bars, the waits between them as thin lines, and a slash where the axis is cut. `kind` is
    `run` for a whole run, `call` for a call, and nothing for a step. What goes on still is an attempt until now."""
    half = MOST_SHOWN // 2
    drawn = [*attempts[:half], *attempts[-half:]] if len(attempts) > MOST_SHOWN else attempts
    spans = []
    before: float | None = None
    for each in drawn:
        begin, end = axis.x(each.started_at), axis.x(max(each.ended_at, each.started_at))
        if before is not None and before < begin:
            form = Markup('<line class="wait" x1="{}" x2="{}" y1="11" y2="11"/>')
            spans.append(form.format(percent(before), percent(begin)))
        spans.append(_span(begin, end - begin, "failed" if each.error else kind))
        before = end
    slashes = [
        _slash((axis.x(begin) + axis.x(end)) / 2)
        for begin, end in axis.cuts
        if any(each.started_at < end and each.ended_at > begin for each in drawn)
    ]
    form = Markup('<svg class="lane" role="img" aria-label="{}" width="100%" height="22">{}{}</svg>')
    return form.format(lane_words(axis, attempts), _joined(spans), _joined(slashes))


def lane_words(axis: Axis, attempts: Sequence[Attempt]) -> str:
    """A lane as text: when it began, and how long each attempt took."""
    if not attempts:
        return "not started"
    said = []
    for number, each in enumerate(attempts[:MOST_SAID]):
        wait = f"{duration(each.started_at - attempts[number - 1].ended_at)} later " if number else ""
        said.append(f"{wait}{duration(each.ended_at - each.started_at)}{f', {each.error}' if each.error else ''}")
    more = [f"{count(len(attempts) - MOST_SAID)} more"] if len(attempts) > MOST_SAID else []
    many = f"{count(len(attempts))} attempts: " if len(attempts) > 1 else ""
    begin = attempts[0].started_at - axis.begin
    start = f"starts after {duration(begin)}" if begin > 0 else "starts at once"
    return f"{start}; {many}{'; '.join([*said, *more])}"


def _span(x: float, width: float, kind: str) -> Markup:
    """A bar. One that takes no time can be seen too, so its begin is drawn on its own."""
    rects = Markup(
        '<rect class="span {0}" width="100%" height="10" y="6" rx="2"/>'
        '<rect class="span {0}" width="2.5" height="10" y="6" rx="1"/>'
    ).format(kind)
    form = Markup('<svg x="{}" width="{}" height="22" overflow="visible">{}</svg>')
    return form.format(percent(x), percent(width), rects)


def _slash(x: float) -> Markup:
    paths = Markup('<path class="gap" d="M-3.5 18 L2.5 0"/><path class="break" d="M-6 18 L0 0 M-1 18 L5 0"/>')
    form = Markup('<svg x="{}" y="2" width="1" height="18" overflow="visible">{}</svg>')
    return form.format(percent(x), paths)


def _joined(parts: Iterable[Markup]) -> Markup:
    return Markup("").join(parts)

"""`/healthz`, `/readyz` and `/metrics`: the checks and metrics of each part, for operators."""

from collections.abc import Awaitable, Callable, Coroutine, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from starlette.routing import Route

from postern.api.health import Readiness, healthz
from postern.api.metrics import Metrics, build_metrics
from postern.assembly.part import Part, joined
from postern.version import own_version

if TYPE_CHECKING:
    from prometheus_client import Metric


def readiness_of(parts: Sequence[Part]) -> Readiness:
    """The checks of these parts."""
    return Readiness(joined(part.checks for part in parts))


def operations_part(
    parts: Sequence[Part],
    readiness: Readiness,
    process: str,
    settle: Callable[[], None],
    drains: Sequence[Callable[[], object]] = (),
    export: Callable[[Callable[[], Awaitable[list["Metric"]]]], Coroutine[Any, Any, None]] | None = None,
) -> Part:
    """Serves the checks of `readiness` and the metrics of `parts`, which are all the others. `process` names this
    process in metrics; `settle` is called before each scrape, and `drains` when the server begins to stop. `export`
    sends the metrics elsewhere while the server runs."""
    collect = [collect for part in parts for collect in part.metrics]
    metrics = Metrics(process, [*collect, build_metrics(own_version())], settle)

    def draining() -> None:
        readiness.stop()
        for drain in drains:
            drain()

    return Part(
        routes=(
            Route("/healthz", healthz),
            Route("/readyz", readiness.answer),
            Route("/metrics", metrics.answer),
        ),
        state={"draining": draining},
        tasks=(partial(export, metrics.families),) if export is not None else (),
    )

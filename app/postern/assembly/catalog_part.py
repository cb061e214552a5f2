"""The catalog as a part of the server."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from postern.api.health import folder_readable
from postern.api.metrics import catalog_metrics
from postern.assembly.catalog import Bind, binding, load_catalog
from postern.assembly.part import Part
from postern.assembly.people import CurrentPeople
from postern.catalog import Catalog, Snapshot, Trigger
from postern.catalog.spawned import hand_down
from postern.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogPart(Part):
    """The loaded workflows. `snapshot` and `triggers` return the current ones. `bind` makes the policy of an access
    mode as of now. `listeners` are called with the old and the new snapshot after each change."""

    catalog: Catalog
    snapshot: Callable[[], Snapshot]
    triggers: Callable[[], Mapping[str, Trigger]]
    bind: Bind
    listeners: list[Callable[[Snapshot, Snapshot], None]]


def catalog_part(
    settings: Settings,
    changed: Callable[[Snapshot], None],
    missing_secrets: Callable[[], Mapping[str, str]] = dict,
    *,
    trial: bool = True,
) -> CatalogPart:
    """The folder is loaded at once, and watched while the server runs. `changed` is called with each new snapshot.
    `missing_secrets` returns why each secret of a sender cannot be read, by its name in lower case."""
    hand_down(settings.workflows)
    listeners: list[Callable[[Snapshot, Snapshot], None]] = [lambda _, new: changed(new)]

    def on_change(old: Snapshot, new: Snapshot) -> None:
        for listener in listeners:
            listener(old, new)

    people = CurrentPeople(settings)
    catalog = load_catalog(
        settings, on_change=on_change, trial=trial, missing_secrets=missing_secrets, current_people=people
    )
    return CatalogPart(
        catalog=catalog,
        snapshot=lambda: catalog.snapshot,
        triggers=lambda: catalog.snapshot.triggers,
        bind=binding(settings, people),
        listeners=listeners,
        tasks=(catalog.watch,),
        checks={"catalog": folder_readable(settings.workflows)},
        metrics=(catalog_metrics(lambda: len(catalog.snapshot.faults)),),
    )

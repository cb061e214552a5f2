"""Whether a workflow can be an alert's. Pure."""

from collections.abc import Mapping

from postern.catalog import Trigger


def alert_fault(name: str | None, triggers: Mapping[str, Trigger]) -> str:
    """Why the workflow of `[findings] run` cannot be started, as a sentence without its full stop; "" if it can, or if
    none is named."""
    if name is None:
        return ""
    trigger = triggers.get(name)
    setting = f'[findings] run = "{name}"'
    if trigger is None:
        return f"{setting} of postern.toml: no workflow of this name is served. Add it, or correct the name"
    unfit = trigger.workflow.unfit_to_be_started
    return f"{setting} of postern.toml: {unfit}" if unfit else ""

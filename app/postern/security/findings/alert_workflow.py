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
    if "POST" not in trigger.workflow.methods:
        return f"{setting} of postern.toml: the workflow takes no POST. Add POST to its methods"
    if trigger.workflow.stateless:
        return f"{setting} of postern.toml: the runs of an alert are recorded. Drop stateless=True"
    if "{" in trigger.workflow.path:
        return f"{setting} of postern.toml: its path has parameters, which a finding does not have"
    return ""

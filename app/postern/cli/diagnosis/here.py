"""Checks of this machine: the settings, the folder of workflows, and the server."""

import os
from collections.abc import Iterable

import anyio.to_thread

from postern.access.policy import Open
from postern.catalog import Snapshot
from postern.cli.diagnosis.finding import Finding, failed, ok, warning
from postern.cli.diagnosis.tools import tool_findings
from postern.cli.health_probe import health
from postern.security.findings.alert_workflow import alert_fault
from postern.settings import Settings, SettingsFault
from postern.settings.warnings import environment_warnings, unknown_workflows, warnings


def settings_findings(
    settings: Settings, missing_for_console: Iterable[str], snapshot: Snapshot | None
) -> list[Finding]:
    """Settings that are valid and probably not what was meant, and an alert that cannot start. Pure."""
    texts = [*warnings(settings), *environment_warnings(os.environ, settings)]
    texts += named_workflows(settings, snapshot) if snapshot is not None else []
    found = [Finding("warning", text, "See `postern check`") for text in texts]
    if snapshot is not None and (unfit := alert_fault(settings.findings.run, snapshot.triggers)):
        found += failed(unfit, "No alert is sent until then")
    found += tool_findings(settings, snapshot) if snapshot is not None else []
    if missing := list(missing_for_console):
        found += warning(f"the console is off: {'; '.join(missing)}", "Set what is missing, or POSTERN_CONSOLE=off")
    return [*ok("the settings are valid"), *found]


def named_workflows(settings: Settings, snapshot: Snapshot) -> list[str]:
    """Warnings of the workflows that settings name. With a faulty module there are none: it may have them. Pure."""
    if snapshot.faults:
        return []
    known = {name: isinstance(trigger.policy, Open) for name, trigger in snapshot.triggers.items()}
    return unknown_workflows(settings, known)


def fault_findings(fault: SettingsFault) -> list[Finding]:
    """Each problem of settings that cannot be used. Pure."""
    return [
        Finding("failed", f"{each.setting}{f' ({each.source})' if each.source else ''}: {each.wrong}", each.fix)
        for each in fault.problems
    ]


def workflow_findings(snapshot: Snapshot) -> list[Finding]:
    """What was loaded, and what could not be. Pure."""
    found = [
        Finding(
            "failed", f"{fault.file}{f':{fault.line}' if fault.line else ''}: {fault.cause}", fault.fix or "Correct it"
        )
        for fault in snapshot.faults
    ]
    number = len(snapshot.triggers)
    if not number and not found:
        return warning("the folder has no workflow", "Write one: `postern new NAME`")
    return [*ok(f"{number} workflow{'' if number == 1 else 's'} can be served"), *found]


async def check_server() -> list[Finding]:
    """Whether the server of this machine is ready."""
    healthy, line = await anyio.to_thread.run_sync(lambda: health(ready=True), abandon_on_cancel=True)
    if healthy:
        return ok(line)
    if "answers 503" in line:
        return failed(line, "Its log names the reason of each failing check")
    return warning(line, "Start the server here, or run `postern doctor` on its machine")

"""The workflows, and what is wrong with them, as the commands print them."""

from collections.abc import Iterable

from postern.access import Access, Anonymous, Policy, SpecificUsers
from postern.authoring.schedule import NEXT_TIMES
from postern.catalog import Fault, Snapshot
from postern.catalog.snapshot import tool_methods
from postern.cli.columns import Cell, print_columns
from postern.cli.terminal import err, escaped, plain


def print_workflows(snapshot: Snapshot, server_url: str, *, stderr: bool, ids: bool = False) -> None:
    """Print the workflows with method, URL and access mode, and their tools at /mcp if there is any. Anonymous ones are
    marked. `ids` shows the object ids of those on a list."""
    rows: list[list[Cell]] = []
    tools = any(trigger.workflow.tool is not None for trigger in snapshot.triggers.values())
    for name, trigger in sorted(snapshot.triggers.items()):
        workflow = trigger.workflow
        access = describe(workflow.access, trigger.policy if ids else None)
        networks = f" from {', '.join(workflow.networks)}" if workflow.networks else ""
        shown: Cell = access + networks
        if workflow.access == Anonymous():
            shown = (f"{access} (open to anyone){networks}", "yellow")
        rows.append([name, " ".join(workflow.methods), f"{server_url}/triggers/{name}{workflow.path}", shown])
        rows[-1] += [", ".join(tool_methods(workflow))] if tools else []
    columns = ("workflow", "method", "URL", "access", *(["tool"] if tools else []))
    print_columns(columns, rows, stderr=stderr)


def scheduled(snapshot: Snapshot, now: float) -> list[list[Cell]]:
    """The workflows that start by the clock, with their next times: rows for `print_schedules`."""
    rows: list[list[Cell]] = []
    for name, trigger in sorted(snapshot.triggers.items()):
        if (schedule := trigger.workflow.schedule) is not None:
            times = [at.strftime("%Y-%m-%d %H:%M %Z") for at in schedule.next_times(now, NEXT_TIMES)]
            rows.append([name, schedule.text, ", ".join(times)])
    return rows


def print_schedules(rows: list[list[Cell]], *, stderr: bool) -> None:
    """Print them."""
    print_columns(("workflow", "schedule", "next times"), rows, stderr=stderr)


def print_faults(faults: Iterable[Fault]) -> None:
    """Print each fault with its place, cause and fix."""
    for fault in faults:
        place = plain(f"{fault.file}:{fault.line}" if fault.line else fault.file)
        err.print(
            f"[bold red]fault[/] {escaped(place)}\n  {escaped(plain(fault.cause))}", highlight=False, soft_wrap=True
        )
        if fault.fix:
            err.print(f"  [green]fix:[/] {escaped(plain(fault.fix))}", highlight=False, soft_wrap=True)
        if fault.still_serving:
            names = ", ".join(fault.still_serving)
            err.print(f"  the last version that worked still serves {escaped(names)}", highlight=False, soft_wrap=True)


def print_advice(snapshot: Snapshot) -> None:
    """Print what the authors of the served files most probably forgot, with its place and fix."""
    for file, each in sorted(
        {(trigger.file, each) for trigger in snapshot.triggers.values() for each in trigger.advice}
    ):
        label = "[bold]note[/]" if each.harmless else "[bold yellow]warning[/]"
        err.print(f"{label} {escaped(plain(f'{file}:{each.line}'))}", highlight=False, soft_wrap=True)
        err.print(f"  {escaped(plain(each.cause))}", highlight=False, soft_wrap=True)
        err.print(f"  [green]fix:[/] {escaped(plain(each.fix))}", highlight=False, soft_wrap=True)


def describe(access: Access, policy: Policy | None = None) -> str:
    """An access mode in one line: `specific_users(lisa, roles=Clerk)`. With its policy here, `lisa=OBJECT-ID`."""
    if isinstance(access, Anonymous):
        by = access.signed_by
        return "anonymous(signed)" if access.signed else f"anonymous(signed_by={by.sender})" if by else "anonymous"
    parts = list(access.people) if isinstance(access, SpecificUsers) else []
    if policy is not None and policy.people is not None:
        parts = [f"{person.name}={person.object_id}" if person.name else person.object_id for person in policy.people]
    for option in ("scopes", "roles", "clients", "audiences", "tenants"):
        values = getattr(access, option)
        if values:
            parts.append(f"{option}={'|'.join(values)}")
    parts += [f"auth_context={access.auth_context}"] if access.auth_context else []
    parts += [f"{option}=no" for option in ("apps", "guests", "agents") if not getattr(access, option)]
    return f"{access.mode}({', '.join(parts)})" if parts else access.mode

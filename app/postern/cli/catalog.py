"""`postern check`, `list` and `new`: the folder of workflows."""

import os
from keyword import iskeyword
from pathlib import Path
from time import time
from typing import Annotated, Any

import typer

from postern.authoring.by_server import WORKFLOW_NAME
from postern.catalog import Snapshot, Trigger
from postern.catalog.snapshot import many_tools, tool_methods
from postern.cli.catalog_output import (
    describe,
    print_advice,
    print_faults,
    print_schedules,
    print_workflows,
    scheduled,
)
from postern.cli.new_file import write_new
from postern.cli.terminal import err, escaped, fail, out, plain, print_json, program
from postern.cli.workspace import STATE_FOLDER, Workspace, workspace
from postern.local_tenant import LocalTenant
from postern.settings import Settings, load_settings
from postern.settings.audit import check_audit
from postern.settings.console import missing_for_console
from postern.settings.grants import check_grants
from postern.settings.sealing import check_durable_key

TEMPLATE = '''"""{title}."""

from pydantic import BaseModel

from postern import Context, tenant_users, workflow


class {model}(BaseModel):
    """The request body."""

    name: str


@workflow(access=tenant_users())
async def {function}(ctx: Context, given: {model}) -> dict[str, str]:
    """{title}."""
    ctx.log.info("greeting")
    return {{"message": f"Hello, {{given.name}}!"}}
'''


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(check)
    app.command(name="list")(list_workflows)
    app.command()(new)


def check() -> None:
    """Load the settings and every workflow, and report every fault. Exit code 1 if there is any, or if no token can be
    valid for the workflows that are tools.

    Settings that are probably not what was meant are warnings, which do not change the exit code. Nothing is fetched.
    """
    from postern.cli.diagnosis.here import named_workflows  # what `list` and `new` do not need
    from postern.cli.diagnosis.tools import registration_note, tool_findings
    from postern.connections.grants.reach import out_of_reach
    from postern.settings.warnings import environment_warnings, warnings

    here = workspace()
    if not here.local:  # the local tenant provides all that they need
        check_grants(here.settings)
    check_audit(here.settings)
    check_durable_key(here.settings)
    snapshot = here.load()
    print_faults(snapshot.faults)
    print_advice(snapshot)
    found = [*warnings(here.settings), *environment_warnings(os.environ, here.settings)]
    found += [*_missing_connections(snapshot, here), *out_of_reach(snapshot.triggers.values(), here.settings)]
    found += [*named_workflows(here.settings, snapshot), *filter(None, [many_tools(snapshot.triggers)])]
    for warning in found:
        err.print(f"[yellow]warning[/] {escaped(warning)}.", highlight=False, soft_wrap=True)
    tools = tool_findings(here.settings, snapshot)
    for each in tools:
        label = "[red]failed[/]" if each.state == "failed" else "[yellow]warning[/]"
        err.print(f"{label} {escaped(each.detail)}. {escaped(each.fix)}.", highlight=False, soft_wrap=True)
    if note := registration_note(here.settings, snapshot, here.server_url if here.local else ""):
        err.print(escaped(note), highlight=False, soft_wrap=True)
    if unsealed := unsealed_workflows(here.settings, snapshot):
        err.print(escaped(unsealed), highlight=False, soft_wrap=True)
    if missing := missing_for_console(here.settings, here.server_url if here.local else ""):
        err.print(f"The console is off: {escaped('; '.join(missing))}.", highlight=False, soft_wrap=True)
    elif not here.local:
        console = f"{here.settings.public_url}/console"
        said = f"The console is on: {console}, with the redirect URI {console}/callback in Entra."
        err.print(escaped(said), highlight=False, soft_wrap=True)
    if rows := scheduled(snapshot, time()):
        print_schedules(rows, stderr=True)
    tenant = "the local tenant (POSTERN_TENANT_ID is not set)" if here.local else f"tenant {here.settings.tenant_id}"
    served = _count(len(snapshot.triggers), "workflow")
    faulty = _count(len(snapshot.faults), "faulty module")
    err.print(f"{served} in {escaped(str(here.settings.workflows))}, {faulty}; for {tenant}.", highlight=False)
    raise typer.Exit(1 if snapshot.faults or any(each.state == "failed" for each in tools) else 0)


def unsealed_workflows(settings: Settings, snapshot: Snapshot) -> str:
    """What is said of durable workflows without a key, "" if there are none."""
    names = sorted(name for name, trigger in snapshot.triggers.items() if trigger.workflow.durable)
    if not names or settings.durable_key_name:
        return ""
    return (
        f"Bodies of durable runs ({', '.join(names)}) are in the database, unsealed, until the runs succeed: "
        "POSTERN_DURABLE_KEY_NAME is not set."
    )


def list_workflows(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")] = False,
) -> None:
    """List the workflows with method, URL, access mode, object ids of those on a list, and next due times."""
    here = workspace()
    snapshot = here.load()
    if as_json:
        from postern.api.representation import fault_json  # the run API's form, with SQLAlchemy

        workflows = [_row(trigger, here) for _, trigger in sorted(snapshot.triggers.items())]
        document = {"workflows": workflows, "faults": [fault_json(fault) for fault in snapshot.faults]}
        print_json(document)
        return
    print_faults(snapshot.faults)
    print_workflows(snapshot, here.server_url, stderr=False, ids=True)
    if rows := scheduled(snapshot, time()):
        typer.echo()
        print_schedules(rows, stderr=False)


def new(
    name: Annotated[str, typer.Argument(help="The workflow's name, as in its URL: approve-leave.")],
    tested: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="After `test`: the workflow to write a first test of.")
    ] = None,
) -> None:
    """Write a module with a working workflow, or, as `new test NAME`, a first test of a workflow."""
    if tested is not None:
        _new_test(name, tested)
        return
    settings = load_settings()
    wanted = name.replace("_", "-")
    if not WORKFLOW_NAME.fullmatch(wanted) or wanted[0].isdigit():
        fail(
            f"{name!r} is not a valid workflow name: begin with a lower-case letter, then use lower-case letters, "
            "digits and hyphens."
        )
        raise typer.Exit(2)
    if iskeyword(wanted):
        fail(f"{name!r} is a Python keyword, so it cannot be a function's name: choose another, like do-{wanted}.")
        raise typer.Exit(2)
    function = wanted.replace("-", "_")
    path = Path(settings.workflows) / f"{function}.py"
    words = wanted.split("-")
    text = TEMPLATE.format(
        title=" ".join(words).capitalize(),
        model="".join(word.capitalize() for word in words) + "Request",
        function=function,
    )
    write_new(path, text)
    who = "--token-file FILE" if settings.tenant_id else "--as ada"
    out.print(f"Wrote {escaped(str(path))}. A running server serves it at once. Try it:", highlight=False)
    out.print(
        f'  {program()} call {wanted} {who} --data \'{{"name": "Ada"}}\'',
        highlight=False,
        markup=False,
        soft_wrap=True,
    )


def _new_test(word: str, name: str) -> None:
    from postern.cli.new_test import new_test

    if word != "test":
        fail(f"postern new takes one name. To write a first test: {program()} new test {name}")
        raise typer.Exit(2)
    here = workspace()
    triggers = here.load().triggers
    local = here.local or LocalTenant.open(STATE_FOLDER, here.settings.people, serves=False)
    new_test(name, triggers, local)


def _missing_connections(snapshot: Snapshot, here: Workspace) -> list[str]:
    """Connections that workflows declare and `postern.toml` does not have: their use would fail."""
    return [
        f"{trigger.file}:{trigger.workflow.line}: {name} declares the connection {plain(missing)}, which is not in "
        f"postern.toml. Add [connections.{plain(missing)}], or correct the name"
        for name, trigger in sorted(snapshot.triggers.items())
        for missing in trigger.workflow.connections or ()
        if missing not in here.settings.connections
    ]


def _count(number: int, what: str) -> str:
    return f"{number or 'no'} {what}{'' if number == 1 else 's'}"


def _row(trigger: Trigger, here: Workspace) -> dict[str, Any]:
    from postern.api.representation import people_json, schedule_json, uses_json  # as above

    workflow = trigger.workflow
    return {
        "name": workflow.name,
        "methods": list(workflow.methods),
        "url": f"{here.server_url}/triggers/{workflow.name}{workflow.path}",
        "access": workflow.access.mode,
        "access_detail": describe(workflow.access),
        "people": people_json(trigger.policy),
        "networks": list(workflow.networks),
        "origins": list(workflow.origins),
        "description": workflow.description,
        "schedule": schedule_json(workflow, time()),
        "on_failure": workflow.on_failure or None,
        "tools": [*tool_methods(workflow)],
        **uses_json(trigger),
        "file": str(trigger.file),
        "line": workflow.line,
    }

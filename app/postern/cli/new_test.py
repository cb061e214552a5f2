"""`postern new test NAME`: a first test of a workflow, which passes."""

from collections.abc import Mapping
from pathlib import Path

import typer
from rich.markup import escape

from postern.access import OPEN, Caller, Guarded, checks
from postern.catalog import Trigger
from postern.cli.first_test import NoTest, Outsider, first_test, outside_of
from postern.cli.local_callers import ANY_CONTEXT
from postern.cli.new_file import write_new
from postern.cli.terminal import fail, out, program
from postern.identity import tenant
from postern.identity.claims import caller_of
from postern.local_tenant import LocalTenant
from postern.local_tenant.defaults import OPERATOR
from postern.openapi.document import openapi_document
from postern.openapi.example_requests import ExampleRequest, example_requests
from postern.openapi.operations import operations
from postern.settings.installation import Installation

TESTS = Path("tests")


def new_test(name: str, triggers: Mapping[str, Trigger], local: LocalTenant) -> None:
    """Write `tests/test_NAME.py`, if it is not there."""
    trigger = triggers.get(name)
    if trigger is None:
        fail(f"There is no workflow {name!r}. Workflows: {', '.join(sorted(triggers)) or 'none'}.")
        raise typer.Exit(2)
    path = TESTS / f"test_{name.replace('-', '_')}.py"
    try:
        outside = outside_of(trigger, triggers)
        caller, refused = written_caller(trigger, local), outsider(trigger, local)
        text = first_test(trigger, _request(trigger), caller, refused, outside)
    except NoTest as error:
        fail(f"There is no first test of {name}: {error}.")
        raise typer.Exit(1) from None
    write_new(path, text)
    out.print(f"Wrote {escape(str(path))}. Run it:\n  {program()} test {escape(str(path))}", highlight=False)


def _request(trigger: Trigger) -> ExampleRequest | None:
    triggers = {trigger.workflow.name: trigger}
    found = example_requests(openapi_document(triggers, Installation("http://localhost")))
    ids = [each.id for each in operations(triggers)]
    return next((found[each] for each in ids if each in found), None)


def written_caller(trigger: Trigger, local: LocalTenant) -> str:
    """Who may call the workflow, as the kit writes it; "" for anyone, and if nobody may."""
    policy = trigger.policy
    if not isinstance(policy, Guarded):
        return ""
    context = getattr(trigger.workflow.access, "auth_context", "")
    for name in dict.fromkeys([OPERATOR, *local.people, *local.applications]):
        for audience in (None, *sorted(policy.audiences)):
            caller = _caller(local, name, audience, met=bool(context))
            if all(check.passed for check in checks(policy, caller)):
                more = f', audience="{audience}"' if audience else ""
                more += f', auth_context="{context}"' if context else ""
                return f'{_kind(local, name)}("{name}"{more})'
    return ""


def outsider(trigger: Trigger, local: LocalTenant) -> Outsider | None:
    """Who is rejected by the workflow's own rule; else a request without a token is. None if anyone may call it."""
    policy = trigger.policy
    if policy is OPEN or not isinstance(policy, Guarded):
        return None
    for name in [*local.people, *local.applications]:
        failed = [check.name for check in checks(policy, _caller(local, name, None, met=True)) if not check.passed]
        if failed and failed[0] != "audience":
            return Outsider(f'{_kind(local, name)}("{name}")', failed[0])
    return Outsider("nobody()", "credentials")


def _caller(local: LocalTenant, name: str, audience: str | None, *, met: bool) -> Caller:
    here = tenant(local.tenant_id, authority=local.authority)
    return caller_of({**local.claims(name, audience=audience), **({"acrs": ANY_CONTEXT} if met else {})}, here)


def _kind(local: LocalTenant, name: str) -> str:
    return "user" if name in local.people else "app"

"""The first requests to send, as README.md has them, where they work as they are written there. Pure."""

from collections.abc import Container, Mapping
from typing import NamedTuple

from postern.access import Guarded, Signed
from postern.catalog import Trigger

ANONYMOUS, GUARDED = "hello", "whoami"
"""The workflows of the first steps in README.md."""


class FirstSteps(NamedTuple):
    """The workflows to call without a token and with one, "" where there is none, and whether any is served."""

    anonymous: str
    guarded: str
    any_served: bool


def first_steps(triggers: Mapping[str, Trigger], served: Container[str], *, local: bool) -> FirstSteps:
    """The first steps with these triggers, of which the viewer may call those that are `served`. A workflow of such a
    name may be another than README.md has, with other access or with a body. Only the local tenant has a command that
    prints a token."""

    def fits(name: str, guarded: bool) -> bool:
        trigger = triggers.get(name)
        if trigger is None or name not in served or isinstance(trigger.policy, Signed):
            return False
        if isinstance(trigger.policy, Guarded) is not guarded:
            return False
        workflow = trigger.workflow
        needs_body = workflow.body is not None and workflow.body.required
        return "POST" in workflow.methods and not workflow.path and not needs_body

    return FirstSteps(
        ANONYMOUS if fits(ANONYMOUS, guarded=False) else "",
        GUARDED if local and fits(GUARDED, guarded=True) else "",
        any(name in served for name in triggers),
    )

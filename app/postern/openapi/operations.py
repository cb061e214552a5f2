"""The triggers of a catalog as operations of a document, with ids, paths and descriptions. Pure."""

import inspect
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from postern.access import Access, Anonymous, Guarded, SenderSignature, Signed
from postern.authoring.request import BESIDES, METHODS
from postern.authoring.workflow import Workflow
from postern.catalog import Trigger
from postern.catalog.snapshot import tool_methods
from postern.plain_text import plain
from postern.redaction import without_tokens

MAX_SUMMARY = 80
"""Characters; the limit of a Power Platform custom connector."""

_FULL_STOPS = ".。"
_LETTERS_AND_DIGITS = re.compile(r"[A-Za-z0-9]+")
_IN_BRACES = re.compile(r"\{([^{}]+)\}")


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one trigger. `id` is unique in its catalog, ignoring case."""

    id: str
    method: str
    trigger: Trigger

    @property
    def workflow(self) -> Workflow:
        """The workflow that it runs."""
        return self.trigger.workflow

    @property
    def path(self) -> str:
        """`/triggers/book-room/rooms/{room}`."""
        return f"/triggers/{self.workflow.name}{self.workflow.path}"

    @property
    def path_names(self) -> tuple[str, ...]:
        """The parameters of the path, in its order."""
        return tuple(_IN_BRACES.findall(self.workflow.path))

    @property
    def guarded(self) -> bool:
        """Whether a token is required."""
        return isinstance(self.trigger.policy, Guarded)

    @property
    def by_signed_url(self) -> bool:
        """Whether it is called by URLs that an operator made."""
        policy = self.trigger.policy
        return isinstance(policy, Signed) and policy.url

    @property
    def sender(self) -> SenderSignature | None:
        """The signature that its sender makes, None if there is none."""
        policy = self.trigger.policy
        return policy.by if isinstance(policy, Signed) else None

    @property
    def recorded(self) -> bool:
        """Whether its runs are recorded, so that they can be read by id and may have an idempotency key."""
        return not self.workflow.stateless

    @property
    def later(self) -> bool:
        """Whether the reply is a 202, and the result comes later."""
        return self.workflow.durable

    @property
    def tool(self) -> str:
        """The name of the tool that it is for agents, "" if it is none."""
        names = {method: name for name, method in tool_methods(self.workflow).items()}
        return names.get(self.method, "")

    @property
    def summary(self) -> str:
        """What it does in a few words, without a full stop at the end."""
        return summary_of(self.workflow)

    @property
    def description(self) -> str:
        """What it does, in the author's full text; ends with a full stop."""
        return description_of(self.workflow)


def operations(triggers: Mapping[str, Trigger]) -> tuple[Operation, ...]:
    """Every method of every trigger, by name and then in the order of METHODS."""
    wanted = [
        (trigger, method)
        for _, trigger in sorted(triggers.items())
        for method in METHODS
        if method in trigger.workflow.methods
    ]
    ids = unique(operation_id(trigger.workflow, method) for trigger, method in wanted)
    return tuple(
        Operation(unique_id, method, trigger) for unique_id, (trigger, method) in zip(ids, wanted, strict=True)
    )


def operation_id(workflow: Workflow, method: str) -> str:
    """`BookRoom`; with the method in front if there are several, or if a digit would come first. The id of
    another method stays as it is beside HEAD and OPTIONS."""
    name = pascal(workflow.name)
    several = len([each for each in workflow.methods if each not in BESIDES]) > 1
    return pascal(method.lower()) + name if several or method in BESIDES or name[0].isdigit() else name


def pascal(name: str) -> str:
    """`book-room` as `BookRoom`."""
    return "".join(part[0].upper() + part[1:] for part in _LETTERS_AND_DIGITS.findall(name))


def unique(ids: Iterable[str]) -> Iterator[str]:
    """The ids, with a number if an earlier one is the same, ignoring case. The first one keeps a shared id."""
    given = list(ids)
    taken = {each.lower() for each in given}
    seen: set[str] = set()
    for each in given:
        chosen, number = each, 1
        while chosen.lower() in (seen if number == 1 else taken):
            number += 1
            chosen = f"{each}{number}"
        seen.add(chosen.lower())
        taken.add(chosen.lower())
        yield chosen


def summary_of(workflow: Workflow) -> str:
    """The first line of the docstring, cut at a word; if it is empty, a sentence made from the name."""
    line = plain(without_tokens(workflow.description).strip()).rstrip(_FULL_STOPS).rstrip()
    if not _says_something(line):
        line = workflow.name.replace("-", " ").capitalize()
    if len(line) > MAX_SUMMARY:
        cut = line[: MAX_SUMMARY - 1]
        line = (cut.rpartition(" ")[0] or cut).rstrip(" ,;:.") + "…"
    return line


def description_of(workflow: Workflow) -> str:
    """The whole docstring; if it is empty, a sentence made from the name."""
    text = plain(without_tokens(inspect.getdoc(workflow.function) or "").strip(), lines=True)
    if not _says_something(text):
        text = f"Runs the workflow {workflow.name}"
    return text if text.endswith("。") else text.rstrip(" .!?:;,") + "."


def _says_something(text: str) -> bool:
    return any(map(str.isalnum, text))


def conditions_of(access: Access, *, networks: bool = False) -> list[str]:
    """The conditions of an access mode beyond its name, in words, and whether there are `networks`: never who is on its
    list, nor which networks."""
    near = ["from certain networks only"] if networks else []
    if isinstance(access, Anonymous):
        by = access.signed_by
        return (["but a signed URL"] if access.signed else [f"but the signature of {by.named}"] if by else []) + near
    found = [] if access.apps else ["people only"]
    found += [] if access.guests else ["no guests"]
    found += [] if access.agents else ["no agents"]
    found += ["through certain applications only"] if access.clients else []
    found += [f"with the scope {' or '.join(access.scopes)}"] if access.scopes else []
    found += [f"with the app role {' or '.join(access.roles)}"] if access.roles else []
    found += ["with a stronger sign-in (Conditional Access)"] if access.auth_context else []
    return found + near

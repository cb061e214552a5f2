"""What the catalog serves at one moment, and how that is decided. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from postern.access import Policy
from postern.authoring.tool import MANY_TOOLS, tool_names
from postern.authoring.workflow import Workflow
from postern.catalog.context_changes import Changes
from postern.catalog.likely_mistakes import Advice
from postern.catalog.uses import NOTHING_SEEN, Uses

Policies = tuple[Policy, Policy | None]
"""Who may call a workflow, and who may send signals to its runs, if its author says so."""


@dataclass(frozen=True, slots=True)
class Trigger:
    """A workflow bound to this installation. `file` and `workflow.line` say where it is defined. `context` has what its
    module changed in its context when it was loaded; runs begin with it. `uses` has the connections and secrets that it
    uses. `sha256` is of the file as it was loaded, and `helpers_sha256` of the helper modules then. `signals` is the
    policy of those who may send signals to its runs, None if its author sets none. `advice` is what the author
    of the file most probably forgot."""

    workflow: Workflow
    policy: Policy
    file: Path
    context: Changes = ()
    uses: Uses = NOTHING_SEEN
    sha256: str = ""
    helpers_sha256: str = ""
    signals: Policy | None = None
    advice: tuple[Advice, ...] = ()


@dataclass(frozen=True, slots=True)
class Fault:
    """A file that cannot be served as it is written. `cause` and `fix` are for its author and the operator, never for
    a caller. `fix` is "" if the cause already says what to do. `still_serving` names the workflows that the last
    version that worked still serves."""

    file: Path
    line: int | None
    cause: str
    fix: str
    still_serving: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All triggers by name, and all faults. It never changes: a reader takes it once and has a consistent view."""

    triggers: Mapping[str, Trigger]
    faults: tuple[Fault, ...]


EMPTY = Snapshot(MappingProxyType({}), ())


@dataclass(frozen=True, slots=True)
class Version:
    """The triggers of one file, as it was when it was loaded."""

    triggers: Mapping[str, Trigger]


@dataclass(frozen=True, slots=True)
class Flaw:
    """Why one file cannot be served as it is written. `outside` means that something else than the file may be the
    reason, such as a package that is not installed: then it is tried again."""

    line: int | None
    cause: str
    fix: str
    outside: bool = False


def settle(
    loaded: Mapping[Path, Version | Flaw], serving: Mapping[Path, Version]
) -> tuple[dict[Path, Version], dict[Path, Flaw]]:
    """The version that each file serves from now on, and the flaws of those that fell back or clash.

    `loaded` has the outcome of each file as it is written now. `serving` has the version that each file served until
    now, without duplicate names. Every decision begins with the files as written, so a clash ends once it is fixed. A
    file in a clash falls back to the version that it served. That version can clash with another file as written, which
    then falls back too. This ends at the latest when all files serve their previous versions. So does a file
    with a tool of the same name as another tool, and one whose `on_failure` names no workflow that is served: workflows
    load in any order, so it is found out here.
    """
    flaws = {file: outcome for file, outcome in loaded.items() if isinstance(outcome, Flaw)}
    chosen = {file: outcome for file, outcome in loaded.items() if isinstance(outcome, Version)}
    chosen |= {file: serving[file] for file in flaws if file in serving}
    while True:
        if clashes := _clashes(chosen):
            found = {file: _clash(own, other) for file, (own, other) in clashes.items()}
        elif clashing := _clashing_tools(chosen):
            found = clashing
        else:
            found = {file: flaw for file, flaw in _dangling(chosen).items() if chosen[file] is not serving.get(file)}
        if not found:
            break
        for file, flaw in found.items():
            flaws.setdefault(file, flaw)
            if file not in serving:
                del chosen[file]
            else:
                chosen[file] = serving[file]
    for file, flaw in _dangling(chosen).items():  # the workflow that it names has gone: it goes on as it is
        flaws.setdefault(file, flaw)
    return chosen, flaws


def snapshot_of(chosen: Mapping[Path, Version], flaws: Mapping[Path, Flaw]) -> Snapshot:
    """The decision of `settle` as a Snapshot, in the order of the files."""
    triggers = {name: trigger for file in sorted(chosen) for name, trigger in chosen[file].triggers.items()}
    faults = tuple(
        Fault(file, flaw.line, flaw.cause, flaw.fix, tuple(chosen[file].triggers) if file in chosen else ())
        for file, flaw in sorted(flaws.items())
    )
    return Snapshot(MappingProxyType(triggers), faults)


def _clashes(chosen: Mapping[Path, Version]) -> dict[Path, tuple[Trigger, Trigger]]:
    """For each file with a name that another file has too: its own trigger and the other's."""
    owners: dict[str, list[Path]] = {}
    for file in sorted(chosen):
        for name in chosen[file].triggers:
            owners.setdefault(name, []).append(file)
    found: dict[Path, tuple[Trigger, Trigger]] = {}
    for name, files in owners.items():
        if len(files) > 1:
            for file in files:
                other = files[1] if file == files[0] else files[0]
                found.setdefault(file, (chosen[file].triggers[name], chosen[other].triggers[name]))
    return found


def _clashing_tools(chosen: Mapping[Path, Version]) -> dict[Path, Flaw]:
    """For each file with a tool whose name another tool has too, in this file or another: the flaw of the first one."""
    owners: dict[str, list[tuple[Path, Workflow]]] = {}
    for file in sorted(chosen):
        for trigger in chosen[file].triggers.values():
            for name in tool_methods(trigger.workflow):
                owners.setdefault(name, []).append((file, trigger.workflow))
    found: dict[Path, Flaw] = {}
    for name, tools in owners.items():
        for file, workflow in tools if len(tools) > 1 else ():
            other_file, other = next(each for each in tools if each[1] is not workflow)
            found.setdefault(
                file,
                Flaw(
                    workflow.line,
                    f"The workflow in {other_file}, line {other.line}, is the tool {name!r} too.",
                    'Rename one of the two functions, set another name="...", or leave tool= out of one.',
                ),
            )
    return found


def tool_methods(workflow: Workflow) -> dict[str, str]:
    """The method of each tool that a workflow is, by the tool's name; {} if it is none."""
    return {} if workflow.tool is None else tool_names(workflow.name, workflow.methods)


def many_tools(triggers: Mapping[str, Trigger]) -> str:
    """A warning of more tools than a model chooses well among, without its full stop; "" if there are not so many."""
    number = sum(len(tool_methods(trigger.workflow)) for trigger in triggers.values())
    if number <= MANY_TOOLS:
        return ""
    return (
        f"the workflows are {number} tools for agents. Models choose badly among more than {MANY_TOOLS}, and clients "
        "stop at 128: leave tool= out of some"
    )


def _dangling(chosen: Mapping[Path, Version]) -> dict[Path, Flaw]:
    """For each file with a workflow whose `on_failure` names none that can be started: the flaw of the first one."""
    served = {name: trigger.workflow for version in chosen.values() for name, trigger in version.triggers.items()}
    found: dict[Path, Flaw] = {}
    for file, version in chosen.items():
        for trigger in version.triggers.values():
            if why := _unfit(trigger.workflow.on_failure, served):
                found.setdefault(file, Flaw(trigger.workflow.line, why, ""))
    return found


def _unfit(name: str, served: Mapping[str, Workflow]) -> str:
    """What is wrong with this name of `on_failure`; "" if nothing is."""
    if not name:
        return ""
    named = served.get(name)
    if named is None:
        return f"on_failure={name!r}: no workflow of this name is served. Add it, or correct the name."
    return f"on_failure={name!r}: {named.unfit_to_be_started}." if named.unfit_to_be_started else ""


def _clash(own: Trigger, other: Trigger) -> Flaw:
    return duplicate(own.workflow.name, own.workflow.line, other.file, other.workflow.line)


def duplicate(name: str, line: int, other_file: Path, other_line: int) -> Flaw:
    """The flaw of two workflows with one name."""
    return Flaw(
        line,
        f"The workflow in {other_file}, line {other_line}, has the name {name!r} too.",
        'Rename one of the two functions, or set another name="...": the name is part of the trigger\'s URL.',
    )

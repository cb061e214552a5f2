"""What `postern dev` prints for a new user: commands for the workflows that are there, each of which works."""

from collections.abc import Callable, Iterable

from postern.access import OPEN
from postern.catalog import Snapshot, Trigger
from postern.cli.terminal import program
from postern.openapi.document import openapi_document
from postern.openapi.example_requests import ExampleRequest, example_requests
from postern.openapi.operations import operations
from postern.settings.installation import Installation


def first_steps(snapshot: Snapshot, server_url: str, options: Callable[[Trigger], str]) -> str:
    """The text. `options` returns the options of a caller who may call a trigger, "" if nobody may."""
    postern = program()
    commands = _commands(snapshot, server_url, options)
    width = max((len(command) for command, _ in commands), default=0)
    lines = [f"  {command:<{min(width, 80)}}  # {what}" for command, what in commands]
    begin = ["Try it, in another terminal:", *lines] if lines else ["There is no workflow to call yet."]
    return "\n".join(
        [
            "",
            *begin,
            "",
            f"Requests and responses of each workflow, with commands to paste: {server_url}/docs",
            "",
            f"Drop a module in the workflows folder, or run `{postern} new my-workflow`: it is served at once.",
            "Ctrl-C stops the server.",
            "",
        ]
    )


def _commands(snapshot: Snapshot, server_url: str, options: Callable[[Trigger], str]) -> list[tuple[str, str]]:
    """Commands with what comes of them, for one anonymous workflow and one that requires a token."""
    postern = program()
    requests = example_requests(openapi_document(snapshot.triggers, Installation(server_url)))
    triggers = {each.id: each.trigger for each in operations(snapshot.triggers)}
    found: list[tuple[str, str]] = []
    open_ones = [each for each in requests.values() if triggers[each.operation_id].policy is OPEN]
    if (request := _simplest(open_ones, guarded=False)) is not None:
        found.append((request.curl(server_url), "200: anyone may call it"))
    callable_ones = {name: who for name, trigger in triggers.items() if (who := options(trigger))}
    guarded = _simplest((each for each in requests.values() if each.operation_id in callable_ones), guarded=True)
    if guarded is None:
        return found
    who = callable_ones[guarded.operation_id]
    name = who.split()[1]
    found += [
        (guarded.curl(server_url).replace("curl", "curl -i", 1), "401: it requires a token"),
        (f"{postern} token {who}", "a token of the local tenant"),
        (guarded.curl(server_url, f"$({postern} token {who})"), f"200: {name} may call it"),
    ]
    if (
        "--audience" not in who and not guarded.files
    ):  # `postern call` sends tokens for this server only, and files by name
        found.append((guarded.call(postern, who), "the same"))
    return found


def _simplest(requests: Iterable[ExampleRequest], *, guarded: bool) -> ExampleRequest | None:
    """One without a body and with a short path, if possible; of the guarded ones, one with a list of callers."""
    fitting = [each for each in requests if (each.access != "anonymous") is guarded]
    return min(
        fitting,
        key=lambda each: (each.body is not None, each.access != "specific_users", len(each.path), each.path),
        default=None,
    )

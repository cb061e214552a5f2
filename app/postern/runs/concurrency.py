"""The places of runs whose limit holds for each key (`concurrency_key`), or in all server processes (`singleton`)."""

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from functools import partial
from hashlib import sha256
from hmac import digest
from secrets import token_bytes
from typing import Any

from postern.authoring.concurrency import ConcurrencyKeyError, key_of, place_of
from postern.authoring.workflow import Workflow
from postern.errors import Problem, problem
from postern.journal.run import Run
from postern.journal.singletons import free_singleton
from postern.runs.run_records import RunRecords

SAME_KEY = "This workflow already has as many concurrent runs with the same key as it allows."
SINGLETON = "A run of this workflow is in progress, and it has one at a time."


KEY_FAILED = (
    "{place} raised this, so the run did not begin: let it return a key for every body that the workflow takes, "
    'such as body.get("order", "") in place of body["order"]'
)
"""What the author of a concurrency_key does about an error of it."""


def key_of_run(run: Run, arguments: Mapping[str, Any]) -> str:
    """The key of a run as JSON, "" for a singleton without one. Calls the author's function, whose errors are
    raised, with a note of what to do."""
    workflow = run.workflow
    if workflow.concurrency_key is None:
        return ""
    body = None if workflow.body is None else arguments.get(workflow.body.name)
    try:
        return key_of(workflow.concurrency_key, run.caller, body)
    except ConcurrencyKeyError:  # its text says what to do
        raise
    except BaseException as error:
        with suppress(BaseException):  # an author's exception may refuse notes
            error.add_note(f"fix: {KEY_FAILED.format(place=place_of(workflow.concurrency_key))}")
        raise


Mark = Callable[[str], Awaitable[str]]
"""Makes the digest of a text that is kept in the database."""


async def plain_mark(text: str) -> str:
    """A digest without a secret, in hexadecimal: who reads it can try values that they guess."""
    return sha256(text.encode()).hexdigest()


async def kept_key(workflow: Workflow, key: str, mark: Mark) -> str:
    """What the database has of a key: a digest of the workflow's name and the key, in hexadecimal. Names have no line
    feed. The key of a secured workflow may be guessed from a plain digest, so it is made by `mark`, whose errors are
    raised."""
    guessable = workflow.secures and workflow.concurrency_key is not None
    return await (mark if guessable else plain_mark)(f"concurrency\n{workflow.name}\n{key}")


def too_many(workflow: Workflow) -> Problem:
    """The problem of a run for which there is no place."""
    detail = SAME_KEY if workflow.concurrency_key is not None else SINGLETON
    return problem("too-many-runs", detail=detail, headers={"Retry-After": "1"})


class Hold:
    """The place of a run, which its code holds until it ends: also code that goes on in a thread after the run has
    ended. `scope` is what it has claimed in the journal for its `key`."""

    __slots__ = ("_free", "_holders", "key", "scope")

    def __init__(self, key: str, free: Callable[[str], None]) -> None:
        self.key = key
        self.scope = ""
        self._free = free
        self._holders = 1

    def share(self) -> None:
        """Something else holds it too, and gives it back."""
        self._holders += 1

    def give_back(self) -> None:
        """The last one who gives it back frees the place."""
        self._holders -= 1
        if not self._holders:
            self._free(self.scope)


class KeyPlaces:
    """The places of this server process by workflow and key. A key is in memory as an HMAC under a secret of this
    process."""

    def __init__(self, journal: RunRecords, mark: Mark = plain_mark) -> None:
        self.taken: Counter[bytes] = Counter()
        self._journal = journal
        self._mark = mark
        self._secret = token_bytes(32)
        self._holds: dict[str, Hold] = {}

    def enter(self, run: Run, arguments: Mapping[str, Any]) -> BaseException | None:
        """Take the place of a run, which it gives back by `leave`. Returns the error of the author's function. Raises
        Problem 429 if there is no place."""
        workflow = run.workflow
        try:
            key = key_of_run(run, arguments)
        except BaseException as error:  # SystemExit too: it ends the run, never the server
            return error
        mark = digest(self._secret, f"{workflow.name}\n{key}".encode(), "sha256")
        if self.taken[mark] >= (workflow.max_concurrency or 1):
            raise too_many(workflow)
        self.taken[mark] += 1
        self._holds[run.id] = Hold(key, partial(self._free, mark, run.id))
        return None

    def hold(self, run_id: str) -> Hold | None:
        """The place of a run; None if its workflow needs none here."""
        return self._holds.get(run_id)

    async def scope(self, run: Run) -> str:
        """What a run has to claim in the journal before it begins, "" for nothing. Raises what `mark` raises."""
        hold = self._holds.get(run.id)
        if hold is not None and run.workflow.singleton:
            hold.scope = await kept_key(run.workflow, hold.key, self._mark)
        return hold.scope if hold is not None else ""

    def leave(self, run_id: str) -> None:
        """The run has ended, or does not begin. It gives back its place, if it has one."""
        hold = self._holds.pop(run_id, None)
        if hold is not None:
            hold.give_back()

    def _free(self, mark: bytes, run_id: str, scope: str) -> None:
        """The code of a run has ended. Its claim is released before the end of the run is written, which is queued
        later."""
        self.taken[mark] -= 1
        if not self.taken[mark]:
            del self.taken[mark]
        if scope:
            self._journal.write_soon(partial(free_singleton, scope=scope, run_id=run_id))

"""The outcome of a `def` workflow as a checkpoint: one that has ended is not called again if its server process dies
before the outcome is recorded."""

import json
from base64 import b64decode, b64encode
from dataclasses import asdict

from postern.journal.run import Outcome, State


def outcome_written(outcome: Outcome) -> str:
    """The outcome as JSON."""
    values = asdict(outcome)
    values["content"] = b64encode(outcome.content).decode()
    values["headers"] = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in outcome.headers]
    return json.dumps(values)


def outcome_read(text: str) -> Outcome:
    """The outcome that `outcome_written` wrote."""
    values = json.loads(text)
    values["state"] = State(values["state"])
    values["content"] = b64decode(values["content"])
    values["headers"] = tuple((name.encode("latin-1"), value.encode("latin-1")) for name, value in values["headers"])
    return Outcome(**values)

"""Why a grant is missing, broken or limited: one row for each reason, with who has to do what.

Codes of a provider decide what is said. What is done follows `error` alone.
"""

from typing import NamedTuple


class Reason(NamedTuple):
    """`text` is a predicate of the connection, and `fix` a sentence without its full stop that names the role."""

    text: str
    fix: str


REASONS: dict[str, Reason] = {
    "not-connected": Reason("is not connected", "Connect it: sign in at the provider once"),
}
"""The reasons by code. The codes are a contract: they are in the API, in logs and in the table of `README.md`."""

"""The error that an author sees if a connection has to be connected by a person first."""

from postern.authoring.call_result import CallError


class ConsentRequired(CallError):
    """A connection cannot be used until a person connects it. Unhandled, the run fails, and its caller gets 424
    `consent-required`, with `connect_url` if this caller can connect it.

    `reason` is a code that says why: the table is in the page of `connections/`. `connect_path` is the path of the page
    to connect it, "" if the run's caller cannot."""

    def __init__(self, entry: str, message: str, reason: str, connect_path: str = "") -> None:
        super().__init__(entry, message, sent=False, final=True)
        self.reason = reason
        self.connect_path = connect_path

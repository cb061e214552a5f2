"""The error of a connection that a person has to connect."""

from postern.authoring.consent import ConsentRequired
from postern.connections.faults import ConnectionFault


class NoGrant(ConnectionFault, ConsentRequired):
    """There is no grant that this run may use. `reason` is a code of `reasons.py`. `connect_path` is the path of the
    page on which the run's caller can connect it, "" if this caller cannot."""

    def __init__(self, entry: str, reason: str, wrong: str, fix: str, connect_path: str = "") -> None:
        ConsentRequired.__init__(self, entry, f"{entry} {wrong}. {fix}.", reason, connect_path)
        self.entry = entry
        self.wrong = wrong
        self.fix = fix

    def for_call(self) -> ConsentRequired:
        """The same error as `ctx.call` raises it: a CallError, and no more."""
        return ConsentRequired(self.entry, str(self), self.reason, self.connect_path)

    def own(self) -> "NoGrant":
        """The same error, for one of several callers."""
        return NoGrant(self.entry, self.reason, self.wrong, self.fix, self.connect_path)

"""The error for a connection, trigger or secret that cannot be used: the entry of `postern.toml`, the problem, and the
fix. It never contains a value, nor the other side's text, which may repeat one."""


class ConnectionFault(Exception):
    """An entry that cannot be used. `entry` is for example `connections.graph` or `triggers.approve-leave`, or the name
    of a setting. `wrong` is a predicate, and `fix` a sentence without its full stop."""

    def __init__(self, entry: str, wrong: str, fix: str) -> None:
        super().__init__(f"{entry} {wrong}. {fix}.")
        self.entry = entry
        self.wrong = wrong
        self.fix = fix

    def own(self) -> "ConnectionFault":
        """The same fault, for one of several callers. Its traceback and its notes are then of one run only."""
        return ConnectionFault(self.entry, self.wrong, self.fix)


class ResponseFault(ConnectionFault):
    """A response that is not read. The request has arrived, and may have been carried out."""

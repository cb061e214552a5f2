"""What is told where a connection, a trigger or a secret cannot be used: the entry of `postern.toml`, what is wrong,
and what to mend. Never a value, and never a text of the other side's, which may repeat one."""


class ConnectionFault(Exception):
    """An entry that cannot be used. `entry` is as `connections.graph` or `triggers.approve-leave`, or the name of a
    setting; `wrong` is a predicate, `fix` a sentence without its full stop."""

    def __init__(self, entry: str, wrong: str, fix: str) -> None:
        super().__init__(f"{entry} {wrong}. {fix}.")
        self.entry = entry
        self.wrong = wrong
        self.fix = fix

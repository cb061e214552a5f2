"""What the readers raise."""


class Unreadable(ValueError):
    """A body that is not in the syntax that it claims. It says nothing of the body."""

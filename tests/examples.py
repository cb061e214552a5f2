"""How many examples a property is tried with."""

from hypothesis import settings


def example_count(count: int) -> int:
    """The count of `make test`; a fast run has fewer and a soak more, as their profiles say (see tests/conftest.py)."""
    return max(1, count * settings().max_examples // 100)

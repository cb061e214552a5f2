"""Which version of Postern this is."""

from importlib.metadata import PackageNotFoundError, version


def own_version() -> str:
    """The version that is installed; "unknown" where the program runs from its sources alone."""
    try:
        return version("postern-workflows")
    except PackageNotFoundError:
        return "unknown"

"""Which version of Postern this is."""


def own_version() -> str:
    """The version that is installed; "unknown" where the program runs from its sources alone."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("postern-workflows")
    except PackageNotFoundError:
        return "unknown"

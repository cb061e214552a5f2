"""Which version of Postern this is."""


def own_version() -> str:
    """The version that is installed; "unknown" where the program runs from its sources alone."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("postern-workflows")
    except PackageNotFoundError:
        return "unknown"


def user_agent() -> str:
    """How requests out name the product (RFC 9110, section 10.1.5). Firewalls often reject the names of libraries."""
    return f"Postern/{own_version()}"

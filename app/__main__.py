"""The `postern` command, also as `python -m app`."""

import sys

SHORT_WAY = (["health"], ["health", "--ready"])
"""What goes without loading the other commands, which takes longer than to ask: containers ask all day."""


def main() -> None:
    """Run the command."""
    if sys.argv[1:] in SHORT_WAY:
        from app.health import main as command
    else:
        from app.cli import main as command
    command()


if __name__ == "__main__":
    main()

"""The `postern` command, also as `python -m postern`."""

import sys

SHORT_WAY = (["health"], ["health", "--ready"])
"""What goes without loading the other commands, which takes longer than to ask: containers ask all day."""


def main() -> None:
    """Run the command."""
    if sys.argv[1:] in SHORT_WAY:
        from postern.cli.health_probe import main as command
    else:
        from postern.cli.commands import main as command
    command()


if __name__ == "__main__":
    main()

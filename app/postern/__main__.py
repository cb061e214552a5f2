"""The `postern` command, also as `python -m postern`."""

import sys

PROBE_ARGUMENTS = (["health"], ["health", "--ready"])
"""Arguments that run without loading the other commands: containers repeat this probe all day, and loading takes longer
than the probe."""


def main() -> None:
    """Run the command."""
    from postern.collector import begin

    begin()
    if sys.argv[1:] in PROBE_ARGUMENTS:
        from postern.cli.health_probe import main as command
    else:
        from postern.cli.commands import main as command
    command()


if __name__ == "__main__":
    if not sys.flags.safe_path:
        from postern.import_path import without_working_directory

        sys.path[:1] = []  # `python -m` puts the working directory there
        sys.path[:] = without_working_directory(sys.path)
    main()

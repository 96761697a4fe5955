"""`python -m pipelines`, and the command `tandem`."""

import sys


def main() -> int:
    """Run the command line; returns its exit code."""
    from pipelines.cli.main import main as command_line

    return command_line(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())

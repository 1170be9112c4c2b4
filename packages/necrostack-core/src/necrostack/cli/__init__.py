"""The `necrostack` command.

Data goes to stdout, logs and progress to stderr. Exit codes:

    0    done; also after a graceful stop by SIGTERM. Dead letters alone do not change this: they are kept.
    1    it failed; a feed that was stopped by a bad line has failed, too
    2    the command line is wrong
    3    the application cannot be imported
    4    the backend is out of reach
    5    something named on the command line does not exist
    6    a check failed
    7    done in part: lines of a feed were skipped, and are kept in a file beside it; or some dead letters were not
         redriven, discarded or imported
    130  interrupted
"""

from __future__ import annotations

from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        argv: The arguments; those of the process unless given.

    Returns:
        The exit code. Wrong usage and `--help` are returned as codes, too.
    """
    # Imported here: whoever imports `necrostack.cli` for something else need not pay for argparse.
    from necrostack.cli.dispatch import dispatch

    return dispatch(argv)

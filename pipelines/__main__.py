"""`python -m pipelines`, and the command `tandem`."""

import atexit
import os
import sys
import threading
from typing import NoReturn


def main() -> NoReturn:
    """Run the command line, and end the process with its exit code."""
    from pipelines.cli.main import main as command_line

    leave(command_line(sys.argv[1:]))


def leave(code: int) -> NoReturn:
    """End the process when all its work is done, and do not take the interpreter apart.

    Arrow's threads, which read object stores through Python, may want it a moment longer, and abort a process that has
    done everything right: one in a dozen that read a lake in an object store ended so on a busy machine.
    """
    threading._shutdown()  # type: ignore[attr-defined]  # not public: ends thread pools, waits for threads
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except BrokenPipeError:  # whoever read it has gone
            code = code or 1
    os._exit(code)


if __name__ == "__main__":
    main()

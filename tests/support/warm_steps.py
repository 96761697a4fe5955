"""Commands of `tandem`, each in a process of its own that is forked from one with the libraries imported.

A cold command imports for some seconds before it does anything, which tests of thirty commands would pay thirty times.
Run as a script, this module is the process that forks: it reads one JSON object a line (`arguments`, `stdout`,
`stderr`, and `kill`: a function, before or after its call number ...) and prints how the command ended.
"""

import importlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[2]


class WarmSteps:
    """Starts commands from a warm process."""

    def __init__(self, env: dict[str, str], folder: Path) -> None:
        self._folder = folder
        command = [sys.executable, "-m", "tests.support.warm_steps"]
        self._parent = subprocess.Popen(
            command, cwd=REPOSITORY, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def run(self, *arguments: str, kill: tuple[str, str, int] | None = None) -> subprocess.CompletedProcess[str]:
        """Run `tandem ARGUMENTS`, killed by signal 9 before or after a call of a function where `kill` says so."""
        files = {name: str(self._folder / f"{name}.txt") for name in ("stdout", "stderr")}
        assert self._parent.stdin is not None
        assert self._parent.stdout is not None
        self._parent.stdin.write(json.dumps({"arguments": arguments, "kill": kill, **files}) + "\n")
        self._parent.stdin.flush()
        line = self._parent.stdout.readline()
        assert line, f"the warm process ended with {self._parent.poll()}"
        texts = {name: Path(file).read_text() for name, file in files.items()}
        return subprocess.CompletedProcess(arguments, int(line), **texts)

    def close(self) -> None:
        """End the warm process."""
        self._parent.communicate(timeout=30)


def main() -> None:
    """Fork a child for every line, and print its exit status, negative for a signal."""
    from pipelines.platform.warm_scheduler import LIBRARIES

    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    for name in LIBRARIES:
        importlib.import_module(name)
    for line in sys.stdin:
        command = json.loads(line)
        child = os.fork()
        if not child:
            _become(command)
        _, status = os.waitpid(child, 0)
        sys.stdout.write(f"{os.waitstatus_to_exitcode(status)}\n")
        sys.stdout.flush()


def _become(command: dict[str, Any]) -> None:
    for number, name in ((1, "stdout"), (2, "stderr")):
        os.dup2(os.open(command[name], os.O_CREAT | os.O_WRONLY | os.O_TRUNC), number)
    if command["kill"]:
        _die_at(*command["kill"])
    from pipelines.cli.main import main as tandem

    status = 1
    try:
        status = tandem(command["arguments"])
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _die_at(target: str, when: str, number: int) -> None:
    """Make the process kill itself at a call of `module:function`."""
    module, _, path = target.partition(":")
    owner = importlib.import_module(module)
    *owners, name = path.split(".")
    for part in owners:
        owner = getattr(owner, part)
    original, calls = getattr(owner, name), []

    def dying(*args: Any, **kwargs: Any) -> Any:
        calls.append(name)
        if when == "before" and len(calls) == number:
            os.kill(os.getpid(), signal.SIGKILL)
        result = original(*args, **kwargs)
        if len(calls) == number:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(owner, name, dying)


if __name__ == "__main__":
    main()

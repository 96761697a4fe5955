"""Own processes: started detached, recognised again by pid and start time, ended with their descendants."""

import json
import os
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

START_TOLERANCE = 0.05  # seconds; the kernel counts start times in hundredths


@dataclass(frozen=True)
class Record:
    """What is remembered of a started process.

    Attributes:
        pid: its process id, also the id of its session and process group.
        started: its start time, seconds since the epoch: a reused pid has another one.
        digest: of command and settings; another digest means it must be started anew.
        port: where it listens, None if nowhere.
        port_of: the setting in `PortsConfig` that says so.
    """

    pid: int
    started: float
    digest: str
    port: int | None = None
    port_of: str = ""

    @property
    def process(self) -> psutil.Process | None:
        """The living process, or None when it ended, even if its pid now belongs to another."""
        try:
            process = psutil.Process(self.pid)
            alive = process.status() != psutil.STATUS_ZOMBIE
            return process if alive and abs(process.create_time() - self.started) < START_TOLERANCE else None
        except psutil.NoSuchProcess:
            return None

    def save(self, path: Path) -> None:
        """Write the record in one act."""
        scratch = path.with_suffix(".tmp")
        scratch.write_text(json.dumps(asdict(self)))
        scratch.replace(path)


def load_record(path: Path) -> Record | None:
    """Read a record; None if there is none or it was cut off."""
    try:
        return Record(**json.loads(path.read_text()))
    except (FileNotFoundError, ValueError, TypeError):
        return None


def running_ports(folder: Path) -> dict[str, int]:
    """Return setting -> port of the living processes recorded in `folder`, such as `{"ports.mlflow": 5000}`."""
    records = (load_record(path) for path in folder.glob("*.json"))
    return {f"ports.{r.port_of}": r.port for r in records if r and r.port and r.port_of and r.process}


def spawn(command: Sequence[str], *, env: Mapping[str, str], log: Path, cwd: Path) -> subprocess.Popen[bytes]:
    """Start a process in a session of its own, so that it outlives the terminal; output goes to `log`."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        return subprocess.Popen(  # noqa: S603 - our own command lines
            command,
            env=dict(env),
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )


def end(records: Iterable[Record], *, grace_seconds: float = 15.0) -> int:
    """End processes and all that they started; returns how many were ended.

    First the leaders are asked, so that they can end their children in order; whatever is left is asked, then killed.
    """
    family: dict[int, psutil.Process] = {}
    leaders = []
    for record in records:
        if process := record.process:
            leaders.append(process)
        family |= {member.pid: member for member in _family(record)}
    _signal(leaders, "terminate")
    _, left = psutil.wait_procs(leaders, timeout=grace_seconds)
    _signal(list(family.values()), "terminate")
    _, left = psutil.wait_procs(list(family.values()), timeout=3)
    _signal(left, "kill")
    psutil.wait_procs(left, timeout=5)
    return len(family)


def resident_bytes(record: Record) -> int:
    """Return the memory of a process and its descendants, shared pages counted once per process."""
    total = 0
    for member in _family(record):
        try:
            total += member.memory_info().rss
        except psutil.NoSuchProcess:
            continue
    return total


def _family(record: Record) -> list[psutil.Process]:
    """The leader, its descendants, and members of its session that lost their parent."""
    leader = record.process
    if leader is None and psutil.pid_exists(record.pid):
        return []  # the pid is another's now, so the session of that number may be too
    found: dict[int, psutil.Process] = {}
    try:
        if leader is not None:
            found = {p.pid: p for p in (leader, *leader.children(recursive=True))}
    except psutil.NoSuchProcess:
        pass
    for process in psutil.process_iter():
        if process.pid not in found and _in_session(process, record):
            found[process.pid] = process
    return list(found.values())


def _in_session(process: psutil.Process, record: Record) -> bool:
    try:
        return os.getsid(process.pid) == record.pid and process.create_time() >= record.started - START_TOLERANCE
    except (ProcessLookupError, PermissionError, psutil.NoSuchProcess):
        return False


def _signal(processes: Iterable[psutil.Process], method: str) -> None:
    for process in processes:
        try:
            getattr(process, method)()
        except psutil.NoSuchProcess:
            continue


def wait_until(condition: Callable[[], bool], *, seconds: float, pause: float = 0.2) -> bool:
    """Ask until `condition` holds; False when `seconds` passed first."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(pause)
    return True

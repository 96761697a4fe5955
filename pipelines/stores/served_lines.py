"""What a file of served records holds: lines, read without trusting that a crash left them whole."""

import logging
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import BinaryIO

import orjson

from pipelines.contracts import INGESTED_AT
from pipelines.stores.served import UNREADABLE, Belongs, Record

OPEN, SEALED, DRAINED = ".jsonl", ".sealed", ".drained"
SUFFIXES = (OPEN, SEALED, DRAINED)
_logger = logging.getLogger(__name__)


def stamped_lines(file: BinaryIO) -> Iterator[tuple[str, Record]]:
    """Whole lines with their moment; what cannot be read has that of the line before it."""
    moment = ""
    for line in file:
        if line.endswith(b"\n") and line.strip():
            record = parse_line(line)
            moment = max(moment, str(record.get(INGESTED_AT) or ""))
            yield moment, record


def lines_that_belong(path: Path, belongs: Belongs) -> Iterator[tuple[int, int]]:
    """Start and length, without the line's end, of each line that belongs; one that was cut by a crash included."""
    start = 0
    with path.open("rb") as file:
        for line in file:
            if line.strip() and belongs(parse_line(line)):
                yield start, len(line.rstrip(b"\n"))
            start += len(line)


def parse_line(line: bytes) -> Record:
    """Return the record of a line; what is no JSON object is kept as its text, and logged."""
    try:
        record = orjson.loads(line)
    except orjson.JSONDecodeError:
        record = None
    if isinstance(record, dict):
        return record
    _logger.warning("a line is no JSON object: %r", line[:200])
    return {UNREADABLE: line.decode(errors="replace").rstrip("\n")}


def moment_after(path: Path) -> datetime:
    """The moment just after the newest stamp of a file: a clock that was set back must not put it in the future."""
    newest = datetime.min.replace(tzinfo=UTC)
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 2**16))
        lines = [line for line in file.read().split(b"\n")[:-1] if line.strip()]
    stamp = parse_line(lines[-1]).get(INGESTED_AT) if lines else None
    return newest if stamp is None else datetime.fromisoformat(stamp) + timedelta(microseconds=1)

"""The locks: everything pinned with hashes, one version of a package in all groups, no index address."""

import re
from pathlib import Path

import pytest

from pipelines.config import REPOSITORY

LOCKS = sorted((REPOSITORY / "requirements").glob("*.txt"))
PIN = re.compile(r"^([A-Za-z0-9._-]+)(?:\[[^\]]*\])?==([^ ;\\]+)")


def pins(lock: Path) -> set[tuple[str, str]]:
    return {m.groups() for line in lock.read_text().splitlines() if (m := PIN.match(line))}  # type: ignore[misc]  # both groups match


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.stem)
def test_every_requirement_is_pinned_and_hashed(lock: Path) -> None:
    blocks = re.split(r"\n(?=[A-Za-z0-9])", lock.read_text().strip())
    for block in blocks:
        assert PIN.match(block), block.splitlines()[0]
        assert "--hash=sha256:" in block, block.splitlines()[0]


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.stem)
def test_a_lock_names_no_index_and_no_address(lock: Path) -> None:
    assert not re.search(r"://|--index|--find-links|--extra-index", lock.read_text())


@pytest.mark.parametrize("group", ["platform", "serving"])
def test_groups_agree_with_the_environment_the_tests_run_in(group: str) -> None:
    assert pins(REPOSITORY / "requirements" / f"{group}.txt") <= pins(REPOSITORY / "requirements" / "dev.txt")


def test_every_input_has_a_lock() -> None:
    inputs = sorted(file.stem for file in (REPOSITORY / "requirements").glob("*.in"))
    assert inputs == [lock.stem for lock in LOCKS]

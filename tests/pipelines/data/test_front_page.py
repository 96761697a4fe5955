"""The first page says what was decided, shows raw names as text, and its links lead somewhere."""

import re
from pathlib import Path

from pipelines.data.front_page import write_front_page
from pipelines.data.validation import Verdict


def written(folder: Path, verdict: Verdict) -> str:
    page = folder / "validations" / "events" / "all" / "partition-events.html"
    page.parent.mkdir(parents=True)
    page.write_text("every rule")
    write_front_page(folder, verdict, partition="a <b>/c")
    return (folder / "report.html").read_text()


def test_an_accepted_partition(tmp_path: Path) -> None:
    verdict = Verdict({"events": 1_200}, {"events": 1_190}, {"unknown_item": 7, "repeated_event": 3})
    page = written(tmp_path, verdict)
    assert "Accepted." in page
    assert "10 rows are in quarantine" in page
    assert "<td>events</td><td>1,200</td><td>1,190</td>" in page
    assert "<td>unknown_item</td><td>7</td>" in page
    assert "a &lt;b&gt;/c" in page
    (link,) = re.findall(r'href="(.*?)"', page)
    assert (tmp_path / link).read_text() == "every rule"
    assert "://" not in page, "it must be whole on a closed network"


def test_a_refused_partition_says_why(tmp_path: Path) -> None:
    page = written(tmp_path, Verdict(problems=["too_few_events: 0 & none"], advice="Read another partition"))
    assert "Refused." in page
    assert "too_few_events: 0 &amp; none." in page
    assert "Read another partition." in page

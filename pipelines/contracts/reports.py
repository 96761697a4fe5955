"""References to what checks and removals found."""

from pydantic import Field

from pipelines.contracts.base import Ref, UtcDatetime


class ParityFeature(Ref):
    """For how many requests serving used another value of a feature than the transformations give."""

    name: str
    num_different: int
    num_expired: int = Field(0, description="requests for which it is not compared: the row behind it had expired")
    example: str = ""


class ParityReport(Ref):
    """Features that serving used beside those computed offline for the same moments."""

    dataset: str
    as_of: UtcDatetime
    num_compared: int
    num_waiting: int = Field(description="newer requests, whose events are not all in the lake yet")
    num_ambiguous: int = Field(
        description="compared ones with several events too new to tell which had arrived: features of events not told"
    )
    features: tuple[ParityFeature, ...]
    uri: str = Field(description="folder with report.json and report.html")

    def num_told(self, feature: ParityFeature) -> int:
        """Return for how many requests a feature is compared."""
        return self.num_compared - feature.num_expired

    def share(self, feature: ParityFeature) -> float:
        """Return for which share of the requests it is compared for a feature differs."""
        told = self.num_told(feature)
        return feature.num_different / told if told else 0.0

    @property
    def worst_share(self) -> float:
        """The largest share of any feature."""
        return max(map(self.share, self.features), default=0.0)


class Removed(Ref):
    """What was removed of a user from one place."""

    place: str
    unit: str = Field(description="what is counted: rows, files, folders, values, records")
    num: int


class Remainder(Ref):
    """A place that still has something of a user."""

    place: str
    num: int = Field(description="how often, in the place's own unit")
    remedy: str = Field("", description="what to do where forgetting cannot; empty where it should have")


class Forgetting(Ref):
    """What was removed of a user, and what only people can remove. It names the user by a keyed digest."""

    dataset: str
    user: str = Field(description="HMAC-SHA256 of the id: see stores.forgotten")
    removed: tuple[Removed, ...]
    remains: tuple[Remainder, ...] = Field(description="each with its remedy")
    versions: dict[str, int] = Field(description="lake table -> Delta version, after")
    uri: str = Field(description="folder with report.json and report.html")


class UserSearch(Ref):
    """Where a user was looked for and found."""

    dataset: str
    suppressed: bool = Field(description="whether the list of the forgotten has the user, so that nothing new is kept")
    num_places: int
    found: tuple[Remainder, ...] = Field(description="forgetting removes these")
    remains: tuple[Remainder, ...] = Field(description="only people can: each with its remedy")


class LeakageFinding(Ref):
    """One way in which a training set, or a model, saw what it must not have seen."""

    feature: str = Field(description="feature, column or vocabulary")
    problem: str
    example: str = Field(description="a row to look at")


class LeakageCheck(Ref):
    """What one check asked, on how much, and what it found."""

    name: str
    question: str
    num_checked: int
    findings: tuple[LeakageFinding, ...] = ()
    note: str = ""
    figures: dict[str, float] = Field(default_factory=dict)


class LeakageReport(Ref):
    """Whether a training set, and the model made from it, knew only the past."""

    dataset: str
    snapshot_id: str
    training_set: str = Field(description="fingerprint")
    retrieval_version: str | None = Field(description="version whose vocabularies and normalizers were checked")
    ranking_version: str | None = Field(None, description="the same, of the ranking model")
    uri: str = Field(description="folder with report.json and report.html")
    checks: tuple[LeakageCheck, ...]

    @property
    def num_findings(self) -> int:
        """How many findings there are; 0 is clean."""
        return sum(len(check.findings) for check in self.checks)


class FeatureCheck(Ref):
    """Whether the declared features still serve the champion."""

    champion_version: str | None
    problems: tuple[str, ...] = Field(description="one sentence for each thing that would break")

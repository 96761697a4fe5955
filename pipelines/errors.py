"""Tandem's exceptions: one tree, each with an HTTP status and whether a retry can help.

    TandemError                 500, not retryable
    ├── ConfigError             400  a setting or argument is wrong
    ├── DataContractError       422  raw data breaks the contract of its table
    ├── SourceError             422  a raw source cannot be read
    ├── LakeError               503  a lake table is missing or unreadable         (retryable)
    ├── FeatureStoreError       503  Feast refused, or features are not there      (retryable)
    ├── TrainingError           422  nothing to learn from, or learning diverged
    ├── DeclarationError        409  the declared features would break a release that is served
    ├── LeakageError            422  a training set or model saw what it must not have seen
    ├── ParityError             422  serving used other features than training would have seen
    ├── ForgettingError         409  a user who was to be forgotten is still there
    ├── RegistryError           503  the model registry refused or cannot be seen  (retryable)
    ├── IntegrityError          500  an artifact's bytes are not what was registered
    ├── AnnIndexError           422  an index cannot be built, searched or trusted
    ├── PromotionError          409  a release may not become champion
    ├── PlatformError           503  a process, port or service of the platform    (retryable)
    └── RequestError            422  a serving request is out of bounds

A message says what happened with the value, what was expected, and what to run next.
"""


class TandemError(Exception):
    """Base of every error Tandem raises on purpose."""

    status_code = 500
    retryable = False

    @property
    def exit_code(self) -> int:
        """Process exit code of the command line: 2 for the caller's fault, else 1."""
        return 2 if 400 <= self.status_code < 500 else 1


class ConfigError(TandemError):
    """A setting or argument is unknown, malformed or contradicts another."""

    status_code = 400


class DataContractError(TandemError):
    """Raw data breaks the contract of its table."""

    status_code = 422


class SourceError(TandemError):
    """A raw source is missing, empty, or not of a known layout."""

    status_code = 422


class LakeError(TandemError):
    """A lake table, or the version asked for, is missing or unreadable."""

    status_code = 503
    retryable = True


class FeatureStoreError(TandemError):
    """Feast refused a call, or features that should be there are not."""

    status_code = 503
    retryable = True


class TrainingError(TandemError):
    """There is nothing to learn from, or learning diverged."""

    status_code = 422


class DeclarationError(TandemError):
    """The declared features lack what a release that is served reads."""

    status_code = 409


class LeakageError(TandemError):
    """A training set, or a model made from it, saw what it must not have seen."""

    status_code = 422


class ParityError(TandemError):
    """Features that serving used differ from those computed offline for the same moments."""

    status_code = 422


class ForgettingError(TandemError):
    """A user who was to be forgotten is still somewhere."""

    status_code = 409


class RegistryError(TandemError):
    """The model registry refused a call or cannot be reached."""

    status_code = 503
    retryable = True


class IntegrityError(TandemError):
    """An artifact's bytes differ from the digest it was registered with."""


class AnnIndexError(TandemError):
    """A nearest-neighbour index cannot be built, searched or trusted."""

    status_code = 422


class PromotionError(TandemError):
    """A release may not become, or did not become, champion."""

    status_code = 409


class PlatformError(TandemError):
    """A process, port or service of the platform is not as it should be."""

    status_code = 503
    retryable = True


class RequestError(TandemError):
    """A serving request is well-formed but out of bounds."""

    status_code = 422

"""What MLflow and its HTTP client raise, as one error of ours."""

from collections.abc import Iterator
from contextlib import contextmanager

from pipelines.errors import RegistryError


@contextmanager
def explained(doing: str, uri: str) -> Iterator[None]:
    """Turn their errors into a RegistryError that names what was being done and the server."""
    from mlflow.exceptions import MlflowException

    try:
        yield
    except (MlflowException, OSError) as error:  # requests' errors are OSErrors
        reason = str(error).splitlines()[0]
        raise RegistryError(
            f"could not {doing} at {uri}: {reason}. Check that MLflow answers there: `tandem status`"
        ) from error

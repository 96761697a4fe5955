"""All checks, in the order in which a person reads them."""

from pathlib import Path

from pipelines.contracts import LeakageCheck
from pipelines.leakage.evidence import Evidence
from pipelines.leakage.fitted import fitted_on_the_training_window
from pipelines.leakage.future import blind_to_the_future
from pipelines.leakage.labels import labels_are_known_events
from pipelines.leakage.predictive import no_feature_gives_the_label_away
from pipelines.leakage.recompute import known_before_use, recomputed_from_raw_events
from pipelines.leakage.splits import later_parts_come_later, no_event_in_two_parts, split_by_time
from pipelines.leakage.supplied import has_supplied_vectors, supplied_vectors_are_of_the_past

CHECKS = (
    split_by_time,
    later_parts_come_later,
    no_event_in_two_parts,
    labels_are_known_events,
    recomputed_from_raw_events,
    known_before_use,
    blind_to_the_future,
    no_feature_gives_the_label_away,
)


def run_checks(
    evidence: Evidence, bundle: Path | None, *, min_positive_value: float | None
) -> tuple[LeakageCheck, ...]:
    """Run every check; those of the model's vocabularies, normalizers and supplied vectors if there is a model.

    Args:
        evidence: the training set and its raw rows.
        bundle: folder of the retrieval version made from it, or None.
        min_positive_value: labels below it were left out when the model was fitted.
    """
    found = tuple(check(evidence) for check in CHECKS)
    if bundle is None:
        return found
    fitted = fitted_on_the_training_window(evidence, bundle, min_positive_value=min_positive_value)
    supplied = (supplied_vectors_are_of_the_past(evidence, bundle),) if has_supplied_vectors(bundle) else ()
    return (*found, fitted, *supplied)

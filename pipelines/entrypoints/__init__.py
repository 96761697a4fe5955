"""With what: one short function a step, JSON in and JSON out, called by DAGs and the command line alike.

Each takes `config`, the URI of a resolved configuration (see `resolve_config`), and references as plain
dictionaries; it builds the adapters the step needs and returns the step's reference as a dictionary. Importing
this module is fast: everything heavy is imported inside the function that needs it.
"""

from pipelines.entrypoints.adapters import Json
from pipelines.entrypoints.configuring import parse_as_of, read_config, resolve_config, resolve_params, runs_folder
from pipelines.entrypoints.data import (
    append_partition,
    compact_lake,
    finish_drain,
    read_partition,
    seal_events,
    take_snapshot,
    validate_partition,
)
from pipelines.entrypoints.features import (
    bitemporal_report,
    check_features,
    check_parity,
    compute_features,
    export_features,
    feature_catalogue,
    materialize_online,
    report_parity,
)
from pipelines.entrypoints.forgetting import check_forgotten, find_user, forget_user
from pipelines.entrypoints.handover import drainable, last_published, publish, receive
from pipelines.entrypoints.releasing import (
    assemble_release,
    build_index,
    compare_release,
    promote_release,
    rollback_release,
)
from pipelines.entrypoints.reproducing import list_protocols, reproduce
from pipelines.entrypoints.searching import plan_search, report_search, run_trials
from pipelines.entrypoints.training import (
    build_ranking_set,
    build_training_set,
    check_leakage,
    check_ranking_leakage,
    compare_models,
    evaluate_models,
    list_models,
    list_training_sets,
    model_names,
    ranker_names,
    ranking_loss_names,
    rebuild_training_set,
    report_leakage,
    report_ranking_leakage,
    run_address,
    train_ranking,
    train_retrieval,
)

__all__ = [
    "Json",
    "append_partition",
    "assemble_release",
    "bitemporal_report",
    "build_index",
    "build_ranking_set",
    "build_training_set",
    "check_features",
    "check_forgotten",
    "check_leakage",
    "check_parity",
    "check_ranking_leakage",
    "compact_lake",
    "compare_models",
    "compare_release",
    "compute_features",
    "drainable",
    "evaluate_models",
    "export_features",
    "feature_catalogue",
    "find_user",
    "finish_drain",
    "forget_user",
    "last_published",
    "list_models",
    "list_protocols",
    "list_training_sets",
    "materialize_online",
    "model_names",
    "parse_as_of",
    "plan_search",
    "promote_release",
    "publish",
    "ranker_names",
    "ranking_loss_names",
    "read_config",
    "read_partition",
    "rebuild_training_set",
    "receive",
    "report_leakage",
    "report_parity",
    "report_ranking_leakage",
    "report_search",
    "reproduce",
    "resolve_config",
    "resolve_params",
    "rollback_release",
    "run_address",
    "run_trials",
    "runs_folder",
    "seal_events",
    "take_snapshot",
    "train_ranking",
    "train_retrieval",
    "validate_partition",
]

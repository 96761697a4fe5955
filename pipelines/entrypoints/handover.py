"""Hand references from one DAG to the next: by asset events, and by files for runs started by hand."""

from collections.abc import Mapping
from typing import Any

from pipelines.entrypoints.adapters import Json, open_served_log
from pipelines.entrypoints.configuring import read_config, resolve_config, single_settings
from pipelines.errors import ConfigError
from pipelines.settings import load_config


def publish(asset: str, references: Json, run: str) -> Json:
    """Keep references for runs started by hand; returns whether they are news, as `{"changed": bool}`.

    Args:
        asset: name of the asset.
        references: what its consumers need, with the `config` they were made with.
        run: id of the run that publishes; one run always gets the same answer.
    """
    from pipelines.stores.published import Published

    c = read_config(references["config"])
    return {"changed": Published(c.home).put(asset, references, dataset=c.dataset, run=run)}


def last_published(asset: str) -> Json | None:
    """Return the references of an asset that were published last, of any dataset; None if there are none."""
    from pipelines.stores.published import Published

    return Published(load_config().home).find(asset)


def receive(asset: str, references: Json | None, params: Mapping[str, Any]) -> Json:
    """Return the references of an asset: those given by its event, or those published last.

    Args:
        asset: name of the asset.
        references: extra of the triggering asset event; None when a person triggered the run.
        params: `dataset` chooses whose; `model` and `settings` change the configuration from here on.

    Returns:
        The references, and under `served` whether served events alone started this.
    """
    from pipelines.stores.published import Published

    if references is None:
        references = Published(load_config().home).get(asset, params.get("dataset")) | {"served": False}
    given: Json = {"served": False} | references
    if changes := single_settings(params):
        given = given | {"config": resolve_config(given["config"], changes)["config"]}
    return given


def drainable(params: Mapping[str, Any]) -> Json | None:
    """Return the `config` of a data set whose served events wait: that of its last ingestion; None if none waits.

    Args:
        params: `dataset` chooses whose events; `settings` change the configuration.

    Raises:
        ConfigError: the data set, or each that has events waiting, was never ingested here.
    """
    from pipelines.stores.published import Published
    from pipelines.stores.served import UNASSIGNED

    c = load_config()
    log, published, chosen = open_served_log(c, "events"), Published(c.home), params.get("dataset")
    waiting = [name for name in log.names() if log.waiting(name) and chosen in (None, name)]
    found = [published.find("events", None if name == UNASSIGNED else name) for name in waiting]
    given = next((references for references in found if references), None)
    if given is None and waiting:
        raise ConfigError(
            f"served events of {', '.join(waiting)} wait, but nothing of that was ingested on this platform; expected "
            "a lake to bring them to. Run `tandem ingest-events --dataset <name>` first"
        )
    return receive("events", given, params) if given else None

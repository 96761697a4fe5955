"""What DAGs hand to each other. An event's extra carries references: see `publish` in dags/handover.py."""

from airflow.sdk import Asset

EVENTS = Asset("events", group="tandem")
FEATURES = Asset("features", group="tandem")
MODELS = Asset("models", group="tandem")
RELEASE = Asset("release", group="tandem")
CHAMPION = Asset("champion", group="tandem")

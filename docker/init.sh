#!/bin/sh
# Prepares databases, buckets and the feature registry. Every line may run again: `docker compose up` always runs it.
set -eu
airflow db migrate
mlflow db upgrade "$MLFLOW_BACKEND_STORE_URI"
python "$(dirname "$0")/create_buckets.py"

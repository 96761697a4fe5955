#!/bin/sh
# Starts Airflow's API server and UI with the password of user `admin` from AIRFLOW_ADMIN_PASSWORD.
set -eu
umask 077
printf '{"admin": "%s"}' "$AIRFLOW_ADMIN_PASSWORD" >"$AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE"
exec airflow api-server "$@"

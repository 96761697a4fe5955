#!/bin/sh
# Starts SeaweedFS with two identities, each of which can see only its own bucket.
set -eu
umask 077
identity() {
    printf '{"name": "%s", "credentials": [{"accessKey": "%s", "secretKey": "%s"}], "actions": ' "$1" "$2" "$3"
    printf '["Admin:%s", "Read:%s", "Write:%s", "List:%s", "Tagging:%s"]}' "$1" "$1" "$1" "$1" "$1"
}
{
    printf '{"identities": ['
    identity mlflow "$MLFLOW_S3_ACCESS_KEY" "$MLFLOW_S3_SECRET_KEY"
    printf ', '
    identity lake "$LAKE_S3_ACCESS_KEY" "$LAKE_S3_SECRET_KEY"
    printf ']}'
} >"${TMPDIR:-/tmp}/s3.json"
exec weed "$@" -s3.config="${TMPDIR:-/tmp}/s3.json"

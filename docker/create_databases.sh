#!/bin/sh
# Creates one PostgreSQL user and database a line of TANDEM_DATABASES ("name:password ..."), each closed to the others.
# The image runs it once, when its volume is empty; it may be run again.
set -eu
for entry in $TANDEM_DATABASES; do
    name=${entry%%:*}
    psql --set ON_ERROR_STOP=1 --quiet --no-psqlrc --username "${POSTGRES_USER:-postgres}" --dbname postgres \
        --set name="$name" --set password="${entry#*:}" <<'SQL'
SELECT format('CREATE ROLE %I LOGIN', :'name') WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = :'name') \gexec
SELECT format('ALTER ROLE %I PASSWORD %L', :'name', :'password') \gexec
SELECT format('CREATE DATABASE %I OWNER %I', :'name', :'name')
    WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = :'name') \gexec
SELECT format('REVOKE ALL ON DATABASE %I FROM PUBLIC', :'name') \gexec
SQL
done

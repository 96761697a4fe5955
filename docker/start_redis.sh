#!/bin/sh
# Starts Redis with the password of REDISCLI_AUTH. It goes through a file, not the command line, which others can read.
# It holds events that serving acknowledged: so it answers when they are on disk, and drops nothing.
set -eu
umask 077
cat >"${TMPDIR:-/tmp}/redis.conf" <<CONF
port $REDIS_PORT
dir $REDIS_FOLDER
requirepass $REDISCLI_AUTH
appendonly yes
appendfsync always
maxmemory-policy noeviction
CONF
exec redis-server "${TMPDIR:-/tmp}/redis.conf"

#!/bin/bash
# Starts PostgreSQL as the official image does (https://hub.docker.com/_/postgres, "How to extend this image"): the first
# start makes a database of POSTGRES_USER, POSTGRES_PASSWORD[_FILE], POSTGRES_DB and POSTGRES_INITDB_ARGS, and runs
# /docker-entrypoint-initdb.d/*.sql and *.sh while only the socket answers. It runs under the container's own user.
set -eu

[ "${1:0:1}" != - ] || set -- postgres "$@"
[ "$1" = postgres ] || exec "$@"
[ "$(id -u)" != 0 ] || { echo 'this image does not give up root by itself: set user' >&2; exit 1; }

mkdir -p "$PGDATA"
chmod 700 "$PGDATA"
if [ ! -s "$PGDATA/PG_VERSION" ]; then
  user=${POSTGRES_USER:-postgres}
  database=${POSTGRES_DB:-$user}
  if [ -n "${POSTGRES_PASSWORD_FILE:-}" ]; then
    [ -z "${POSTGRES_PASSWORD:-}" ] || { echo 'error: both POSTGRES_PASSWORD and POSTGRES_PASSWORD_FILE are set' >&2; exit 1; }
    POSTGRES_PASSWORD=$(cat "$POSTGRES_PASSWORD_FILE")
  fi
  [ -n "${POSTGRES_PASSWORD:-}" ] || { echo 'Error: Database is uninitialized and superuser password is not specified.' >&2; exit 1; }
  # The arguments are words, as the official image takes them.
  eval "initdb --username=\"\$user\" --pwfile=<(printf '%s\n' \"\$POSTGRES_PASSWORD\") ${POSTGRES_INITDB_ARGS:-}"
  echo "listen_addresses = '*'" >> "$PGDATA/postgresql.conf" # as the official image's sample has it
  printf '\nhost all all all %s\n' "${POSTGRES_HOST_AUTH_METHOD:-scram-sha-256}" >> "$PGDATA/pg_hba.conf"
  pg_ctl -D "$PGDATA" -o "-c listen_addresses=''" -w start
  export PGPASSWORD=$POSTGRES_PASSWORD
  ask() { psql -v ON_ERROR_STOP=1 --no-psqlrc --username "$user" --no-password "$@"; }
  [ "$database" = postgres ] || ask --dbname postgres -c "CREATE DATABASE \"$database\""
  for file in /docker-entrypoint-initdb.d/*; do
    case "$file" in
      *.sql) echo "running $file"; ask --dbname "$database" -f "$file" ;;
      *.sh) echo "running $file"; . "$file" ;;
    esac
  done
  unset PGPASSWORD
  pg_ctl -D "$PGDATA" -m fast -w stop
  echo 'PostgreSQL init process complete; ready for start up.'
fi
unset POSTGRES_PASSWORD
exec "$@"

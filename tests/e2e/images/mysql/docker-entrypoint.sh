#!/bin/bash
# The official image's contract in short: an empty data directory is initialised once from MYSQL_ROOT_PASSWORD,
# MYSQL_DATABASE, MYSQL_USER, MYSQL_PASSWORD and /docker-entrypoint-initdb.d, against a server without network; then
# mysqld runs as the user mysql with the container's arguments.
set -eo pipefail
shopt -s nullglob

DATA=/var/lib/mysql
SOCKET=/var/run/mysqld/mysqld.sock

note() { printf '%s [Note] [Entrypoint]: %s\n' "$(date --rfc-3339=seconds)" "$*"; }
fail() { printf '%s [ERROR] [Entrypoint]: %s\n' "$(date --rfc-3339=seconds)" "$*" >&2; exit 1; }

# NAME_FILE names a file that holds the value, for secrets.
read_variable() {
  local name=$1 file="$1_FILE"
  [ -z "${!name:-}" ] || [ -z "${!file:-}" ] || fail "both $name and $file are set"
  [ -z "${!file:-}" ] || printf -v "$name" %s "$(<"${!file}")"
  export "${name?}"="${!name:-$2}"
}

root_client() { mysql --no-defaults --protocol=socket --socket="$SOCKET" -uroot "$@"; }

# What init scripts of the official image may call: SQL from standard input, as root.
# shellcheck disable=SC2120 # the arguments are for them
docker_process_sql() {
  root_client --password="$MYSQL_ROOT_PASSWORD" --comments ${MYSQL_DATABASE:+--database="$MYSQL_DATABASE"} "$@" \
    2> >(grep -v 'Using a password on the command line' >&2 || true)
}

quoted() {
  local text=${1//\\/\\\\}
  printf "'%s'" "${text//\'/\\\'}"
}

create_users() {
  local root_host
  root_host=$(quoted "$MYSQL_ROOT_HOST")
  {
    printf 'SET @@SESSION.SQL_LOG_BIN = 0;\n'
    printf 'ALTER USER root@localhost IDENTIFIED BY %s;\n' "$(quoted "$MYSQL_ROOT_PASSWORD")"
    if [ -n "$MYSQL_ROOT_HOST" ] && [ "$MYSQL_ROOT_HOST" != localhost ]; then
      printf 'CREATE USER root@%s IDENTIFIED BY %s;\n' "$root_host" "$(quoted "$MYSQL_ROOT_PASSWORD")"
      printf 'GRANT ALL ON *.* TO root@%s WITH GRANT OPTION;\n' "$root_host"
    fi
    [ -z "$MYSQL_DATABASE" ] || printf "CREATE DATABASE IF NOT EXISTS \`%s\`;\n" "$MYSQL_DATABASE"
    if [ -n "$MYSQL_USER" ] && [ -n "$MYSQL_PASSWORD" ]; then
      printf "CREATE USER %s@'%%' IDENTIFIED BY %s;\n" "$(quoted "$MYSQL_USER")" "$(quoted "$MYSQL_PASSWORD")"
      [ -z "$MYSQL_DATABASE" ] || printf "GRANT ALL ON \`%s\`.* TO %s@'%%';\n" \
        "${MYSQL_DATABASE//_/\\_}" "$(quoted "$MYSQL_USER")"
    fi
  } | root_client
}

run_init_files() {
  local file
  for file in /docker-entrypoint-initdb.d/*; do
    case "$file" in
      *.sh)
        if [ -x "$file" ]; then
          note "running $file"
          "$file"
        else
          note "sourcing $file"
          # shellcheck disable=SC1090 # the user's own
          . "$file"
        fi
        ;;
      *.sql) note "running $file" && docker_process_sql <"$file" ;;
      *.sql.gz) note "running $file" && gunzip -c "$file" | docker_process_sql ;;
      *) note "ignoring $file" ;;
    esac
  done
}

initialise() {
  [ -n "$MYSQL_ROOT_PASSWORD" ] || fail "the database is empty and MYSQL_ROOT_PASSWORD is not set"
  [ "$MYSQL_USER" != root ] || fail "MYSQL_USER=root: MYSQL_ROOT_PASSWORD is what sets root's password"

  note "initialising $DATA"
  "$@" --initialize-insecure --default-time-zone=SYSTEM
  note "starting a server without network"
  "$@" --daemonize --skip-networking --default-time-zone=SYSTEM --socket="$SOCKET" || fail "the server does not start"
  [ -n "${MYSQL_INITDB_SKIP_TZINFO:-}" ] \
    || mysql_tzinfo_to_sql /usr/share/zoneinfo 2>/dev/null | root_client --database=mysql
  create_users
  run_init_files
  # As the official image does, after files that it may have sourced: an unset variable is no error here.
  [ -z "$MYSQL_ONETIME_PASSWORD" ] || fail "MYSQL_ONETIME_PASSWORD is not supported by this stand-in"
  mysqladmin --no-defaults --protocol=socket --socket="$SOCKET" -uroot --password="$MYSQL_ROOT_PASSWORD" shutdown 2>/dev/null \
    || fail "the server without network does not stop"
  note "initialised, ready for start up"
}

wants_help() {
  local argument
  for argument; do
    case "$argument" in -'?' | --help | --print-defaults | -V | --version) return 0 ;; esac
  done
  return 1
}

case "${1:-}" in
  -*) set -- mysqld "$@" ;;
esac
if [ "${1:-}" = mysqld ] && ! wants_help "$@"; then
  if [ "$(id -u)" = 0 ]; then
    mkdir -p "$DATA" "$(dirname "$SOCKET")"
    find "$DATA" "$(dirname "$SOCKET")" ! -user mysql -exec chown --no-dereference mysql {} +
    exec setpriv --reuid=mysql --regid=mysql --init-groups "$0" "$@"
  fi
  read_variable MYSQL_ROOT_HOST %
  for name in MYSQL_DATABASE MYSQL_USER MYSQL_PASSWORD MYSQL_ROOT_PASSWORD; do read_variable "$name" ''; done
  [ -d "$DATA/mysql" ] || initialise "$@"
fi
exec "$@"

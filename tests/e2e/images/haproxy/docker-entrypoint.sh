#!/bin/sh
# `-f file` alone means haproxy; haproxy runs in the foreground under its own master process.
set -e

case "${1:-}" in
  -*) set -- haproxy "$@" ;;
esac
if [ "${1:-}" = haproxy ]; then
  shift
  set -- haproxy -W -db "$@"
fi
exec "$@"

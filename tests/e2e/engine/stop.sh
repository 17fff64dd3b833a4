#!/usr/bin/env bash
# Stop the Docker Engine that ensure.sh started, and no other: where none of its runs, exit code 3. Images, volumes and
# containers stay on the disk.
set -euo pipefail

PID_FILE=${MLOPS_LOOP_CACHE:-$HOME/.cache/mlops-loop}/engine/dockerd.pid

say() { printf 'engine: %s\n' "$*"; }

pid=$(cat "$PID_FILE" 2>/dev/null || true)
if [ -z "$pid" ] || [ "$(cat "/proc/$pid/comm" 2>/dev/null || true)" != dockerd ]; then
  say "no engine that ensure.sh has started runs here" >&2
  exit 3
fi
kill "$pid"
while [ "$SECONDS" -lt 60 ]; do
  if [ ! -e "/proc/$pid" ]; then
    say "stopped after $SECONDS s"
    exit 0
  fi
  sleep 1
done
say "dockerd ($pid) still runs 60 s after SIGTERM" >&2
exit 1

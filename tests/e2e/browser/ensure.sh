#!/usr/bin/env bash
# Make sure that there is a Chromium for the tests of the page; install Debian's where there is none.
#
# Playwright's own browsers come from a place that not every machine can reach; its library drives this one as well.
set -euo pipefail

fail() { printf 'browser: %s\n' "$*" >&2; exit 1; }

for name in chromium chromium-browser google-chrome; do
  ! command -v "$name" >/dev/null || exit 0
done
[ "$(id -u)" = 0 ] && [ -e /etc/debian_version ] \
  || fail "no chromium on the path: install Chromium (only as root on Debian is it installed here)"
printf 'browser: installing chromium\n'
LOG=$(mktemp)
{ apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends \
  chromium fonts-liberation; } >"$LOG" 2>&1 || { tail -n 5 "$LOG" >&2; fail "apt-get could not install chromium: see $LOG"; }
rm -f "$LOG"

#!/usr/bin/env bash
# Print the path of a Chromium: the machine's own or, in CI as root on Debian, Debian's, installed. Exit code 3 where there
# is neither. (Playwright's own browsers lie in a place that not every machine can reach.)
set -euo pipefail

# shellcheck source-path=SCRIPTDIR source=debian.sh
. "$(dirname "${BASH_SOURCE[0]}")/debian.sh"

fail() { printf 'chromium: %s\n' "$*" >&2; exit 3; }

find_one() { command -v chromium || command -v chromium-browser || command -v google-chrome; }

# It needs dozens of libraries, so that it is not unpacked into a folder of its own as others are.
install_one() {
  local log
  log=$(mktemp)
  install_packages "$log" chromium fonts-dejavu-core || { tail -n 5 "$log" >&2; fail "apt-get could not install it: see $log"; }
  rm -f "$log"
}

if ! find_one; then
  [ -n "${CI:-}" ] && [ "$(id -u)" = 0 ] && [ -e /etc/debian_version ] \
    || fail "none on the path: install Chromium (only in CI, as root on Debian, is it installed here)"
  install_one
  find_one || fail "apt-get has installed none"
fi

#!/usr/bin/env bash
# Print the path of a Prometheus with promtool beside it: the machine's own, or else, as root on Debian, one from Debian's
# packages, unpacked into a folder of its own. Exit code 3 if there is neither.
set -euo pipefail

# shellcheck source-path=SCRIPTDIR source=debian.sh
. "$(dirname "${BASH_SOURCE[0]}")/debian.sh"
FOLDER=${MLOPS_LOOP_CACHE:-$HOME/.cache/mlops-loop}/prometheus
BINARY=$FOLDER/root/usr/bin/prometheus

fail() { printf 'prometheus: %s\n' "$*" >&2; exit 3; }

works() { "$1" --version >/dev/null 2>&1 && "$(dirname "$1")/promtool" --version >/dev/null 2>&1; }

unpack() {
  rm -rf "$FOLDER/root.new" "$FOLDER/apt/debs"
  use_suite "$1" "$FOLDER/apt" || return 1
  # Older releases have promtool in the package prometheus.
  (cd "$APT/debs" && apt_of_suite download prometheus && { apt_of_suite download promtool || true; }) || return 1
  unpack_debs "$FOLDER/root.new" && works "$FOLDER/root.new/usr/bin/prometheus" || return 1
  rm -rf "$FOLDER/root"
  mv "$FOLDER/root.new" "$FOLDER/root"
}

if found=$(command -v prometheus) && works "$found"; then
  printf '%s\n' "$found"
  exit 0
fi
mkdir -p "$FOLDER"
exec 9>"$FOLDER/lock"
flock 9
if ! works "$BINARY"; then
  can_unpack_debian || fail "not on the path: install Prometheus with promtool (it is downloaded only for root on Debian)"
  [ -e /usr/share/keyrings/debian-archive-keyring.gpg ] || fail "install debian-archive-keyring"
  # stdout is for the path alone.
  unpack sid >&2 || unpack trixie >&2 || fail "Debian has none: install Prometheus with promtool"
fi
printf '%s\n' "$BINARY"

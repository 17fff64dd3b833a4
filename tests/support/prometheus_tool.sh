#!/usr/bin/env bash
# prometheus_tool.sh prometheus|promtool|prometheus-alertmanager|amtool: print the path of a tool of Prometheus. It is the
# machine's own, or else, as root on Debian, one from Debian's packages, unpacked into a folder of its own. Exit code 3
# where there is neither.
set -euo pipefail

# shellcheck source-path=SCRIPTDIR source=debian.sh
. "$(dirname "${BASH_SOURCE[0]}")/debian.sh"
TOOL=$1
FOLDER=${MLOPS_LOOP_CACHE:-$HOME/.cache/mlops-loop}/prometheus
BINARY=$FOLDER/root/usr/bin/$TOOL

fail() { printf '%s: %s\n' "$TOOL" "$*" >&2; exit 3; }

works() { "$1" --version >/dev/null 2>&1; }

unpack() {
  rm -rf "$FOLDER/root.new" "$FOLDER/apt/debs"
  use_suite "$1" "$FOLDER/apt" || return 1
  (cd "$APT/debs" && apt_of_suite download prometheus promtool prometheus-alertmanager) || return 1
  unpack_debs "$FOLDER/root.new" && works "$FOLDER/root.new/usr/bin/$TOOL" || return 1
  rm -rf "$FOLDER/root"
  mv "$FOLDER/root.new" "$FOLDER/root"
}

if found=$(command -v "$TOOL") && works "$found"; then
  printf '%s\n' "$found"
  exit 0
fi
mkdir -p "$FOLDER"
exec 9>"$FOLDER/lock"
flock 9
if ! works "$BINARY"; then
  can_unpack_debian || fail "none on the path: install Prometheus and Alertmanager (only as root on Debian are they fetched here)"
  [ -e /usr/share/keyrings/debian-archive-keyring.gpg ] || fail "install debian-archive-keyring"
  # apt's messages about a release that is not available are for people.
  unpack sid >&2 || unpack trixie >&2 || fail "not available from Debian: install Prometheus and Alertmanager"
fi
# Debian's Alertmanager looks for its own templates there and nowhere else.
[ -e /usr/share/prometheus ] || ln -sfn "$FOLDER/root/usr/share/prometheus" /usr/share/prometheus
printf '%s\n' "$BINARY"

#!/usr/bin/env bash
# Print the path of a kubectl: the machine's own or, in CI as root on Debian, that of a newer release of Debian, unpacked into
# a folder of its own. Exit code 3 where there is neither.
set -euo pipefail

# shellcheck source-path=SCRIPTDIR source=debian.sh
. "$(dirname "${BASH_SOURCE[0]}")/debian.sh"
CACHE=${MLOPS_LOOP_CACHE:-$HOME/.cache/mlops-loop}
ROOT=$CACHE/kubectl

fail() { printf 'kubectl: %s\n' "$*" >&2; exit 3; }

# An older one renders nothing by itself.
renders() { "$1" kustomize --help >/dev/null 2>&1; }

find_one() {
  local path
  for path in "$(command -v kubectl || true)" "$ROOT/usr/bin/kubectl"; do
    if [ -n "$path" ] && renders "$path"; then
      printf '%s\n' "$path"
      return
    fi
  done
  return 1
}

unpack_suite() {
  local suite=$1 fresh=$ROOT.$$
  use_suite "$suite" "$CACHE/apt-kubectl-$suite" || return 1
  # What is installed here must not keep apt from another release's package.
  (cd "$APT/debs" && apt_of_suite -o Dir::State::status=/dev/null download kubectl) || return 1
  unpack_debs "$fresh" && renders "$fresh/usr/bin/kubectl" || return 1
  rm -rf "$ROOT"
  mv "$fresh" "$ROOT"
}

if ! find_one; then
  if [ -z "${CI:-}" ] || ! can_unpack_debian; then
    fail "none on the path: install kubectl (only in CI, as root on Debian, is it unpacked here)"
  fi
  mkdir -p "$CACHE"
  exec 9>"$CACHE/kubectl.lock"
  flock 9
  find_one || { { unpack_suite trixie || unpack_suite sid; } >&2 && find_one; } || fail "Debian's cannot be unpacked"
fi

# shellcheck shell=bash
# Debian packages: the machine's own installed, or those of any release unpacked without installing them. To be sourced by
# scripts that have a `fail`.
# The machine's own package sources stay as they are: apt gets lists and archives of its own, in the folder $APT.

can_unpack_debian() { [ "$(id -u)" = 0 ] && [ -e /etc/debian_version ] && command -v apt-get >/dev/null; }

debian_mirror() {
  local mirror=${MLOPS_DEBIAN_MIRROR:-}
  # shellcheck disable=SC2016 # the dollar sign is apt's
  [ -n "$mirror" ] || mirror=$(apt-get indextargets --format '$(REPO_URI)' \
    'Created-By: Packages' 'Origin: Debian' 'Label: Debian' 'Component: main' | head -n 1)
  [ -n "$mirror" ] || fail "no Debian mirror among this machine's package sources: set MLOPS_DEBIAN_MIRROR"
  printf '%s\n' "$mirror"
}

# install_packages LOG PACKAGE...: from the machine's own sources; waits up to ten minutes while another apt holds a lock.
install_packages() {
  local log=$1 started=$SECONDS
  shift
  until { apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends "$@"; } \
      >"$log" 2>&1; do
    grep -q 'Could not get lock' "$log" && [ $((SECONDS - started)) -lt 600 ] || return 1
    sleep 2
  done
}

# apt checks the archive's signature and each package's hash; a mirror that lags behind is good enough.
apt_of_suite() {
  apt-get -qq -o Dir::Etc::SourceList="$APT/sources.list" -o Dir::Etc::SourceParts=/dev/null \
    -o Dir::State::Lists="$APT/lists" -o Dir::Cache="$APT" -o APT::Sandbox::User=root \
    -o Acquire::Languages=none -o Acquire::Retries=3 -o Acquire::Check-Valid-Until=false "$@"
}

# use_suite RELEASE FOLDER: what apt_of_suite works with from now on; false if the release cannot be had.
use_suite() {
  APT=$2
  mkdir -p "$APT/lists/partial" "$APT/archives/partial" "$APT/debs"
  printf 'deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] %s %s main\n' \
    "$(debian_mirror)" "$1" >"$APT/sources.list"
  apt_of_suite update
}

# unpack_debs FOLDER: all of $APT/debs, which is emptied.
unpack_debs() {
  local package
  for package in "$APT"/debs/*.deb; do
    dpkg-deb -x "$package" "$1" || return 1
  done
  rm -rf "$APT/debs"
}

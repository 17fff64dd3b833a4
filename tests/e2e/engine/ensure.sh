#!/usr/bin/env bash
# Make sure that a Docker Engine with Compose and Buildx answers; install and start one where there is none.
#
# A machine that has Docker is left as it is. Without one, and as root on Debian, the engine comes from Debian
# packages: runc and iptables from the release that the machine runs, the rest from a newer release, unpacked into a
# folder of its own, because an older engine refuses what docker-compose.yml asks for. No package of the machine
# is replaced. stop.sh ends what this script started.
set -euo pipefail

# shellcheck source-path=SCRIPTDIR source=../../support/debian.sh
. "$(dirname "${BASH_SOURCE[0]}")/../../support/debian.sh"
CACHE=${MLOPS_LOOP_CACHE:-$HOME/.cache/mlops-loop}
ENGINE=$CACHE/engine
SUITES=${MLOPS_ENGINE_SUITES:-sid trixie}
COMPOSE_AT_LEAST=2.24

say() { printf 'engine: %s\n' "$*"; }
fail() { printf 'engine: %s\n' "$*" >&2; exit 1; }

engine_answers() { timeout 20 docker info >/dev/null 2>&1; }

plugins_fit() {
  local compose
  compose=$(docker compose version --short 2>/dev/null) || return 1
  docker buildx version >/dev/null 2>&1 || return 1
  at_least "${compose#v}" "$COMPOSE_AT_LEAST"
}

at_least() { [ "$(printf '%s\n%s\n' "$2" "$1" | sort -V | head -n 1)" = "$2" ]; }

# Unpack an engine, its client and the two plugins of one Debian release; false if they do not run here.
unpack_suite() {
  local suite=$1 fresh=$ENGINE/root.new
  say "downloading Docker Engine, Compose and Buildx from Debian $suite"
  rm -rf "$CACHE/apt-$suite/debs" "$fresh"
  use_suite "$suite" "$CACHE/apt-$suite" || return 1
  (
    cd "$APT/debs" || exit 1
    apt_of_suite download docker.io containerd docker-cli docker-compose docker-buildx || exit 1
    # What `init: true` runs; an older release has it in another package.
    apt_of_suite download tini-static 2>/dev/null || apt_of_suite download tini
  ) || return 1
  unpack_debs "$fresh" || return 1
  "$fresh/usr/sbin/dockerd" --version >/dev/null || return 1
  "$fresh/usr/bin/containerd" --version >/dev/null || return 1
  rm -rf "$ENGINE/root"
  mv "$fresh" "$ENGINE/root"
}

install_engine() {
  local suite
  if ! command -v runc >/dev/null || ! command -v iptables >/dev/null \
      || [ ! -e /usr/share/keyrings/debian-archive-keyring.gpg ]; then
    say "installing runc and iptables"
    install_packages "$ENGINE/apt.log" runc iptables ca-certificates debian-archive-keyring \
      || fail "apt-get could not install runc and iptables: see $ENGINE/apt.log"
  fi
  "$ENGINE/root/usr/sbin/dockerd" --version >/dev/null 2>&1 && return
  for suite in $SUITES; do
    unpack_suite "$suite" && return
    say "no engine from Debian $suite: its packages cannot be had or do not run here"
  done
  fail "no Docker Engine could be had from Debian ($SUITES): install Docker"
}

# The machine's own client and plugins, where they are new enough, come first.
install_client() {
  local plugin
  command -v docker >/dev/null || ln -sf "$ENGINE/root/usr/bin/docker" /usr/local/bin/docker
  plugins_fit && return
  say "adding Compose and Buildx to the docker client"
  mkdir -p /usr/local/lib/docker/cli-plugins
  for plugin in compose buildx; do
    ln -sf "$ENGINE/root/usr/libexec/docker/cli-plugins/docker-$plugin" /usr/local/lib/docker/cli-plugins/
  done
  plugins_fit || fail "docker compose is older than $COMPOSE_AT_LEAST or buildx is missing: $(docker compose version 2>&1)"
}

# True when the pid file's process is the program that the file is named after.
is_alive() { [ "$(cat "/proc/$(cat "$1" 2>/dev/null)/comm" 2>/dev/null)" = "$(basename "$1" .pid)" ]; }

# An engine that is on its way up or down comes first. A killed one leaves pid files; when the number has gone to another
# process, the next engine refuses to start.
clear_the_way() {
  local file started=$SECONDS
  while is_alive "$ENGINE/dockerd.pid"; do
    ! engine_answers || return 0
    [ $((SECONDS - started)) -lt 60 ] || fail "dockerd ($(cat "$ENGINE/dockerd.pid")) runs but does not answer: see $ENGINE/dockerd.log"
    sleep 1
  done
  for file in "$ENGINE/dockerd.pid" /var/run/docker/containerd/containerd.pid; do
    is_alive "$file" || rm -f "$file"
  done
}

start_engine() {
  clear_the_way
  ! engine_answers || return 0
  say "starting dockerd, log in $ENGINE/dockerd.log"
  # Containers inherit the engine's limit, and servers ask for more open files than a shell has.
  ulimit -n 1048576 2>/dev/null || true
  # Without the lock's descriptor: the engine outlives this script.
  PATH=$ENGINE/root/usr/bin:$ENGINE/root/usr/sbin:$PATH setsid nohup "$ENGINE/root/usr/sbin/dockerd" \
    --pidfile "$ENGINE/dockerd.pid" >>"$ENGINE/dockerd.log" 2>&1 </dev/null 9>&- &
  local dockerd=$! started=$SECONDS
  while [ $((SECONDS - started)) -lt 60 ]; do
    if engine_answers; then
      say "answers after $((SECONDS - started)) s"
      return
    fi
    kill -0 "$dockerd" 2>/dev/null || break
    sleep 1
  done
  fail "dockerd does not answer: $(tail -n 1 "$ENGINE/dockerd.log")"
}

if engine_answers && plugins_fit; then exit 0; fi

[ -z "${DOCKER_HOST:-}" ] || engine_answers || fail "no engine answers at DOCKER_HOST=$DOCKER_HOST"
can_unpack_debian || fail "no Docker Engine with Compose >= $COMPOSE_AT_LEAST and Buildx: install Docker (only as root on Debian is one set up here)"
[ ! -d /run/systemd/system ] || ! command -v dockerd >/dev/null || engine_answers \
  || fail "Docker is installed but does not run: systemctl start docker"

mkdir -p "$ENGINE"
exec 9>"$ENGINE/lock"
flock 9
install_engine
install_client
engine_answers || start_engine
say "$(docker version --format 'Engine {{.Server.Version}}'), Compose $(docker compose version --short)," \
  "Buildx $(docker buildx version | cut -d ' ' -f 2)"

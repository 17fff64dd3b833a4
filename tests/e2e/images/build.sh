#!/usr/bin/env bash
# Get every third-party image that docker-compose.yml names: pulled where a registry answers, else a stand-in is built
# from Debian packages and PyPI under the same name. An image that is there already is left alone, unless it is a stand-in
# whose recipe has changed since.
#
#   build.sh                     all of them
#   build.sh mysql:9.7 ...     these, and what they are built on
set -euo pipefail

HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source-path=SCRIPTDIR source=../../support/debian.sh
. "$HERE/../../support/debian.sh"
CACHE=${MLOPS_LOOP_CACHE:-$HOME/.cache/mlops-loop}/images
CA_BUNDLE=${MLOPS_CA_BUNDLE:-/etc/ssl/certs/ca-certificates.crt}
PROBE_SECONDS=15
PULL_SECONDS=900

ROOT=$HERE/../../..

# Repositories that have a stand-in, in the order in which they are built: the Python image first, since others are
# built on it; then the slowest. The folder is the last part of the name.
declare -A FOLDER=([python]=python [haproxy]=haproxy [mysql]=mysql [zenmldocker/zenml-server]=zenml [ghcr.io/mlflow/mlflow]=mlflow)
for name in prometheus alertmanager blackbox-exporter node-exporter mysqld-exporter; do FOLDER[prom/$name]=$name; done
REPOSITORIES=(
  python ghcr.io/mlflow/mlflow haproxy mysql zenmldocker/zenml-server prom/prometheus prom/alertmanager
  prom/blackbox-exporter prom/node-exporter prom/mysqld-exporter
)

# The versions are those of the Compose files and the Dockerfiles.
named_images() {
  sed -nE 's/^ *image: ([^ ]+)$/\1/p' "$ROOT"/docker-compose*.yml
  sed -nE 's/^ARG PYTHON_IMAGE=//p' "$ROOT"/dockerfiles/Dockerfile.*
}

ORDER=()
for repository in "${REPOSITORIES[@]}"; do
  mapfile -t versions < <(named_images | grep -E "^$repository:" | sort -u)
  ORDER+=("${versions[@]}")
done
PYTHON_IMAGE=${ORDER[0]}
folder_of() { printf '%s\n' "${FOLDER[${1%:*}]}"; }

say() { printf 'images: %s\n' "$*"; }
fail() { printf 'images: %s\n' "$*" >&2; exit 1; }

# What a stand-in is made of, as a hash: the label by which a later run knows it.
recipe_of() {
  local parts=(base "$@")
  case "$*" in zenml | mlflow) parts+=(python) ;; esac
  (cd "$HERE" && find "${parts[@]}" -type f -print0 | sort -z | xargs -0 sha256sum | sha256sum | cut -c 1-16)
}

# True when the image is there: a pulled one, or a stand-in of the present recipe.
is_there() {
  local label
  label=$(docker image inspect --format '{{index .Config.Labels "mlops-loop.recipe"}}' "$1" 2>/dev/null) || return 1
  [ -z "$label" ] || [ "$label" = "$2" ]
}

suite_of() {
  case "$1" in
    python | haproxy) echo trixie ;;
    mysql | prometheus | alertmanager | *-exporter) echo sid ;;
  esac
}

# A Debian release as a local base image, slim as the official one: no documentation, no package lists. The tree is kept
# as a tar file, since making it is slow.
make_base() {
  local suite=$1 log=$CACHE/debian-$1.log started=$SECONDS recipe tar tree
  recipe=$(recipe_of)
  tar=$CACHE/debian-$suite-$recipe.tar
  is_there "mlops-loop/debian:$suite" "$recipe" && return
  if [ ! -s "$tar" ]; then
    tree=$CACHE/debian-$suite.tree
    rm -rf "$tree"
    debootstrap --variant=minbase "$suite" "$tree" "$(debian_mirror)" >"$log" 2>&1 \
      || fail "debootstrap of Debian $suite failed: see $log"
    cp "$HERE/base/dpkg.cfg" "$tree/etc/dpkg/dpkg.cfg.d/slim"
    cp "$HERE/base/apt.conf" "$tree/etc/apt/apt.conf.d/slim"
    rm -f "$CACHE/debian-$suite"-*.tar
    tar -C "$tree" -cf "$tar.new" --exclude='./usr/share/doc/*' --exclude='./usr/share/man/*' \
      --exclude='./usr/share/info/*' --exclude='./usr/share/locale/*' --exclude='./var/lib/apt/lists/*' \
      --exclude='./var/cache/*' --exclude='./var/log/*' --exclude='./proc/*' --exclude='./sys/*' .
    mv "$tar.new" "$tar"
    rm -rf "$tree"
  fi
  docker import --change 'CMD ["bash"]' --change "LABEL mlops-loop.recipe=$recipe" \
    --change 'ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' \
    "$tar" "mlops-loop/debian:$suite" >>"$log" 2>&1 || fail "docker import of Debian $suite failed: see $log"
  say "Debian $suite: base image in $((SECONDS - started)) s"
}

build() {
  local image=$1 folder started=$SECONDS log options
  folder=$(folder_of "$image")
  options=(--label "mlops-loop.recipe=$(recipe_of "$folder")" --build-arg "PYTHON_IMAGE=$PYTHON_IMAGE" --build-context "base=$HERE/base")
  log=$CACHE/$folder.log
  # PyPI may be reached only through a proxy with a certificate of its own: a secret leaves no trace in the image.
  [ ! -s "$CA_BUNDLE" ] || options+=(--secret "id=ca,src=$CA_BUNDLE")
  [ -z "${PIP_INDEX_URL:-}" ] || options+=(--build-arg PIP_INDEX_URL)
  docker buildx build --load --progress plain --tag "$image" "${options[@]}" "$HERE/$folder" >"$log" 2>&1 \
    || fail "$image: the build failed, see $log"
  say "$image: stand-in built in $((SECONDS - started)) s, $(size_of "$image")"
}

size_of() { docker image inspect --format '{{.Size}}' "$1" | awk '{ printf "%d MB\n", $1 / 1000000 }'; }

# True when the image was pulled. Only whether a registry answers is under a short limit; a slow download is not.
pull() {
  if ! timeout "$PROBE_SECONDS" docker buildx imagetools inspect "$1" >/dev/null 2>&1; then
    say "$1: no registry answers, building stand-ins"
    return 1
  fi
  say "$1: pulling"
  if ! timeout "$PULL_SECONDS" docker pull --quiet "$1" >/dev/null; then
    say "$1: the pull failed, building stand-ins"
    return 1
  fi
}

# Run `$1 argument` for every further argument, two at a time; fail at the end if one of them failed.
two_at_a_time() {
  local job=$1 argument running=0 failed=0
  shift
  for argument; do
    if [ "$running" -ge 2 ]; then
      wait -n || failed=1
      running=$((running - 1))
    fi
    "$job" "$argument" &
    running=$((running + 1))
  done
  while [ "$running" -gt 0 ]; do
    wait -n || failed=1
    running=$((running - 1))
  done
  return "$failed"
}

wanted=("$@")
[ $# -gt 0 ] || wanted=("${ORDER[@]}")
for image in "${wanted[@]}"; do
  case " ${ORDER[*]} " in *" $image "*) ;; *) fail "$image: no such image here; there are: ${ORDER[*]}" ;; esac
done

docker info >/dev/null 2>&1 || fail "no Docker Engine answers: run tests/e2e/engine/ensure.sh"
mkdir -p "$CACHE"

missing=()
no_registry=
for image in "${ORDER[@]}"; do
  needed=
  for name in "${wanted[@]}"; do
    # The servers' stand-ins are built on the Python image.
    case "$image $(folder_of "$name")" in "$name "* | "$PYTHON_IMAGE zenml" | "$PYTHON_IMAGE mlflow") needed=1 ;; esac
  done
  [ -n "$needed" ] || continue
  if is_there "$image" "$(recipe_of "$(folder_of "$image")")"; then continue; fi
  if [ -z "$no_registry" ]; then
    pull "$image" && continue
    no_registry=1
  fi
  missing+=("$image")
done
[ ${#missing[@]} -gt 0 ] || exit 0

suites=()
builds=()
python=
for image in "${missing[@]}"; do
  # Unquoted: what is built on the Python image needs no release of its own.
  # shellcheck disable=SC2207
  suites+=($(suite_of "$(folder_of "$image")"))
  if [ "$image" = "$PYTHON_IMAGE" ]; then python=1; else builds+=("$image"); fi
done
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
  fail "stand-ins are built only as root on Debian; missing: ${missing[*]}"
fi
if ! command -v debootstrap >/dev/null; then
  say "installing debootstrap"
  install_packages "$CACHE/apt.log" debootstrap debian-archive-keyring || fail "apt-get could not install debootstrap: see $CACHE/apt.log"
fi
mapfile -t suites < <(printf '%s\n' "${suites[@]}" | sort -ru)
two_at_a_time make_base "${suites[@]}"
[ -z "$python" ] || build "$PYTHON_IMAGE"
[ ${#builds[@]} -eq 0 ] || two_at_a_time build "${builds[@]}"

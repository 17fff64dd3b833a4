#!/usr/bin/env bash
# mysql_server.sh: print the path of a server that speaks MySQL's protocol: the machine's own or else, as root on Debian,
# MariaDB from the machine's package sources. Exit code 3 where there is neither.
set -euo pipefail

# shellcheck source-path=SCRIPTDIR source=debian.sh
. "$(dirname "${BASH_SOURCE[0]}")/debian.sh"
FOLDER=${MLOPS_LOOP_CACHE:-$HOME/.cache/mlops-loop}

fail() { printf 'mysql: %s\n' "$*" >&2; exit 3; }

server() { PATH=$PATH:/usr/sbin command -v mariadbd; }

mkdir -p "$FOLDER"
exec 9>"$FOLDER/mysql.lock"
flock 9
if ! server; then
  can_unpack_debian || fail "no MariaDB on this machine: install mariadb-server (only as root on Debian is it installed here)"
  # Without its service: programs and libraries only.
  install_packages "$FOLDER/mysql.log" mariadb-server-core || fail "mariadb-server-core is not available: install MariaDB"
  server || fail "mariadb-server-core has no mariadbd"
fi

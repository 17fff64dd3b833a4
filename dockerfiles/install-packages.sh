#!/bin/sh
# Installs dependency groups of uv.lock into /app/.venv, byte-compiled; for the builder stages only.
# Packages come from PACKAGE_INDEX, whichever mirror that is, and must have the lock file's hashes.
set -eu
groups=$(printf -- "--group %s " "$@")

# A CA certificate given as a build secret serves this script alone and stays in no layer.
if [ -s /run/secrets/ca_certificate ]; then
    export PIP_CERT=/run/secrets/ca_certificate SSL_CERT_FILE=/run/secrets/ca_certificate
fi

python -m venv /uv
/uv/bin/pip install --quiet --disable-pip-version-check --index-url "$PACKAGE_INDEX" "uv==$UV_VERSION"
/uv/bin/uv export --quiet --locked --no-default-groups $groups --output-file requirements.txt >/dev/null
python -m venv --without-pip /app/.venv
UV_DEFAULT_INDEX="$PACKAGE_INDEX" UV_LINK_MODE=copy /uv/bin/uv pip install --quiet --python /app/.venv/bin/python \
    --require-hashes --compile-bytecode --requirements requirements.txt

# What no process of ours ever opens: the packages' own test suites and MLflow's web pages.
packages=$(/app/.venv/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
for package in matplotlib onnx pandas pyarrow scipy sklearn; do
    [ ! -d "$packages/$package" ] || find "$packages/$package" -type d -name tests -prune -exec rm -rf {} +
done
rm -rf "$packages/onnx/backend/test/data" "$packages/mlflow/server/js"

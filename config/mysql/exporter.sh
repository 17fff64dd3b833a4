#!/bin/sh
# The exporter's user, who may log in and nothing else. Runs once, on an empty volume; on one that is older, or after a
# change of the password: docker compose exec mysql sh /docker-entrypoint-initdb.d/exporter.sh
# In a subshell: the image's entry point may source this file, and must not inherit its settings.
(
    set -eu
    MYSQL_PWD=$MYSQL_ROOT_PASSWORD mysql --protocol=socket --user=root <<SQL
CREATE USER IF NOT EXISTS 'exporter'@'%' WITH MAX_USER_CONNECTIONS 3;
ALTER USER 'exporter'@'%' IDENTIFIED BY '$MYSQL_EXPORTER_PASSWORD';
SQL
)

#!/bin/sh
# Runs once, on an empty volume: a database and a user of its own for each server, with no rights beyond it.
# In a subshell: the image's entry point may source this file, and must not inherit its settings.
(
    set -eu
    MYSQL_PWD=$MYSQL_ROOT_PASSWORD mysql --protocol=socket --user=root <<SQL
CREATE DATABASE zenml;
CREATE USER 'zenml'@'%' IDENTIFIED BY '$ZENML_DB_PASSWORD';
GRANT ALL PRIVILEGES ON zenml.* TO 'zenml'@'%';
CREATE DATABASE mlflow;
CREATE USER 'mlflow'@'%' IDENTIFIED BY '$MLFLOW_DB_PASSWORD';
GRANT ALL PRIVILEGES ON mlflow.* TO 'mlflow'@'%';
SQL
)

#!/bin/bash
# A server with many clients keeps many files open.
ulimit -n 65535
exec "$@"

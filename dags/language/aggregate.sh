#!/usr/bin/env bash
# Sums one store's sales of the day. Usage: aggregate.sh STORE
set -euo pipefail
store=${1:?usage: aggregate.sh STORE}
mkdir -p work
awk -F, -v store="$store" '$1 == store { sum += $2 } END { printf "{\"store\": \"%s\", \"sum\": %d}\n", store, sum }' \
    "${SALES_FILE:-sales.csv}" >"${UPDRAFT_RESULT:-/dev/stdout}"

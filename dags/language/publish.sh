#!/usr/bin/env bash
# Puts the forecast where the shops read it.
set -euo pipefail
forecast=${FORECAST_FILE:-work/forecast.csv}
target=${PUBLISH_DIR:-published}
mkdir -p "$target"
cp "$forecast" "$target/.forecast.new"
mv "$target/.forecast.new" "$target/forecast.csv" # readers see the old or the new file, never half of one

#!/bin/sh
set -eu
echo "fetching the orders of $1"

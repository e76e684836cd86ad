#!/bin/sh
# Runs one step of set-up: says what it does and how long it took, and keeps its output in a log that is shown
# only when the step fails.
#   step.sh LOG "What it does" COMMAND [ARGUMENT...]
set -u
log=$1
what=$2
shift 2

mkdir -p "$(dirname "$log")"
printf '%s ... ' "$what"
start=$(date +%s)
if "$@" >"$log" 2>&1; then
    echo "$(($(date +%s) - start)) s"
else
    code=$?
    echo "failed. The end of $log:"
    tail -n 30 "$log" >&2
    exit "$code"
fi

#!/usr/bin/env bash
# Runs every fuzz target for the given time, one after the other.
set -euo pipefail

cd "$(dirname "$0")/.."
time=${1:-10s}

grep -rHo --include='*_test.go' '^func Fuzz[A-Za-z0-9_]*' . | sort | while IFS=: read -r file declaration; do
	target=${declaration#func }
	echo "== $(dirname "$file") $target"
	go test -run '^$' -fuzz "^$target\$" -fuzztime "$time" "$(dirname "$file")"
done

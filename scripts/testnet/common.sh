# shellcheck shell=bash
# What every part needs: errors, waiting, the directory of the network, and the processes of its nodes.

# The step of the demo that is under way.
STEP=0

# Ends with an error and what to do about it.
die() {
    [ "$STEP" = 0 ] || set -- "step $STEP failed: $1" "$2"
    printf 'error: %s\nnext: %s\n' "$1" "$2" >&2
    exit 1
}

usage() { die "$1" "scripts/testnet.sh help"; }

# Milliseconds since some moment.
now_ms() {
    local now=${EPOCHREALTIME:-}
    if [ -n "$now" ]; then now=${now/[.,]/}; echo $((now / 1000)); else echo "$(date +%s)000"; fi
}

# Waits until a command succeeds, at most so many seconds.
within() {
    local deadline=$(($(now_ms) + 1000 * $1))
    shift
    until "$@"; do
        [ "$(now_ms)" -lt "$deadline" ] || return 1
        sleep 0.2
    done
}

is_number() { [[ $1 =~ ^(0|[1-9][0-9]{0,8})$ ]]; }

need_network() {
    [ -f "$DIR/$MARKER" ] || die "there is no network in $DIR" "scripts/testnet.sh up"
    DIR=$(cd "$DIR" && pwd)
    ! uses_netns || need_root
    find_programs
}

setting() { sed -n "s/^$1=//p" "$DIR/settings"; }

uses_netns() { [ "$(setting netns)" = yes ]; }

# The numbers of all nodes, running or not.
nodes() {
    local path
    for path in "$DIR"/node*/; do
        [ -d "$path" ] || continue
        path=${path%/}
        echo "${path##*/node}"
    done | sort -n
}

need_node() {
    is_number "$1" || usage "$1 is no node's number"
    [ -d "$DIR/node$1" ] || die "there is no node $1" "scripts/testnet.sh status lists the nodes"
}

# Address of a wallet account.
account() { awk -v wanted="$1" '$1 == wanted { print $2 }' "$DIR/accounts"; }

# The account that mining on a node rewards. Newcomers share the last one.
reward_account() {
    local last
    last=$(awk 'END { print $1 }' "$DIR/accounts")
    echo $(($1 + FUNDED < last ? $1 + FUNDED : last))
}

# When a process started: with its id that names it for good. Nothing for one that has ended.
start_time() {
    local stat
    if [ -r /proc/self/stat ]; then
        stat=$(cat "/proc/$1/stat" 2>/dev/null) || return 0
        # The name, in parentheses, may hold anything; the state follows, and 19 fields later the start.
        read -r -a stat <<<"${stat##*) }"
        [ "${stat[0]}" = Z ] || echo "${stat[19]}"
    else
        ps -o lstart= -p "$1" 2>/dev/null || true
    fi
}

# The process of a node, if it runs.
pid_of() {
    local pid started
    [ -f "$DIR/node$1/pid" ] || return 1
    read -r pid started <"$DIR/node$1/pid"
    [ -n "$started" ] && [ "$(start_time "$pid")" = "$started" ] && echo "$pid"
}

is_running() { pid_of "$1" >/dev/null; }

is_down() { ! is_running "$1"; }

running() {
    local i
    for i in $(nodes); do if is_running "$i"; then echo "$i"; fi; done
}

# Sends a signal to a node and waits for its end.
end_node() {
    local pid
    pid=$(pid_of "$2") || return 0
    kill "-$1" "$pid" 2>/dev/null || true
    within "$STOP_S" is_down "$2"
}

find_programs() {
    BIN=${DRYSTONE_BIN:-$ROOT/target/release}
    local program
    for program in drystone-node drystone-wallet; do
        [ -x "$BIN/$program" ] && continue
        [ -z "${DRYSTONE_BIN:-}" ] || die "there is no $program in $BIN" "build it, or leave out DRYSTONE_BIN"
        command -v cargo >/dev/null || die "no Rust to build the programs with" "install it from https://rustup.rs"
        echo "building the programs"
        (cd "$ROOT" && cargo build --release --locked) ||
            die "the programs cannot be built" "cargo build --release --locked"
    done
    BIN=$(cd "$BIN" && pwd)
}

#!/usr/bin/env bash
# A network of Drystone nodes on one machine: start it, cut it in two, kill parts of it, and watch it agree again.
#
# How it works: every node is a directory node<I> with a configuration file, a log and a data directory. The script keeps
# no process of its own; what it must remember lies in small files beside them. It speaks JSON-RPC over bash's /dev/tcp.
# Without root the nodes share the loopback network, and a cut is a ban of each by the other. With --netns each node has
# a network namespace with one cable to a bridge, and a cut moves cables to another bridge: packets then simply vanish.
#
# The commands are here; what they are made of is in testnet/.
set -euo pipefail
export LC_ALL=C
# Settings of whoever calls must not reach the nodes and the wallet.
unset DRYSTONE_DATA_DIR DRYSTONE_KEYSTORE DRYSTONE_RPC CDPATH

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
DIR=${DRYSTONE_TESTNET:-testnet}
MARKER=.drystone-testnet

# The chain. Two threads that do 2 MH/s each, which any machine of today does, find one hash in 2^23 every 2 s. Difficulty
# follows the machine, down to one in 2^16, within some 60 blocks.
INTERVAL_MS=2000
RESPONSE_MS=120000
BITS=1e01ffff
POW_LIMIT=1f00ffff
MATURITY=10
SUBSIDY_STONES=20
CHIPS=100000000
FUNDED=4
FUNDS_STONES=10000
MAX_NODES=32

# How long anything may take before it counts as failed, in seconds.
START_S=60
STOP_S=20
RPC_S=15
AGREE_S=120
PAY_S=120
# In the demo.
DEMO_S=60
HEAL_S=120

HELP="A network of Drystone nodes on one machine

usage: scripts/testnet.sh COMMAND

  up [N] [--miners M] [--netns]  start N nodes (5), M of which mine on one thread each (2); node 0 is the bootstrap
  status                         a table of all nodes; exit code 0 if those that run agree
  partition 0,1 2,3,4            cut the network into groups
  heal                           undo the cut
  pay [FROM TO AMOUNT [NODE]]    pay stones from account FROM to account or address TO through NODE, and wait for a block
  kill9 I                        end node I without warning
  stop I                         end node I as a supervisor would
  start I [VIA]                  start node I again; if there is none yet, a newcomer that knows only node VIA
  log I                          print the log of node I
  demo [--netns]                 a whole story in nine steps, each of which is checked; exit code 0 if all hold
  down                           end everything and remove it
  help                           this text

--netns gives each node a network namespace of its own, so that a partition cuts cables; it needs root. Without it the
nodes share the loopback network, and a partition has them ban each other.

environment:
  DRYSTONE_TESTNET=DIR     where everything is kept (./testnet)
  DRYSTONE_BIN=DIR         where drystone-node and drystone-wallet are (target/release of this checkout, built if missing)
  DRYSTONE_DEMO_BREAK=N    sabotage step N of the demo, to see that it can fail"

# shellcheck source-path=SCRIPTDIR source=testnet/common.sh
. "$ROOT/scripts/testnet/common.sh"
# shellcheck source-path=SCRIPTDIR source=testnet/rpc.sh
. "$ROOT/scripts/testnet/rpc.sh"
# shellcheck source-path=SCRIPTDIR source=testnet/links.sh
. "$ROOT/scripts/testnet/links.sh"
# shellcheck source-path=SCRIPTDIR source=testnet/nodes.sh
. "$ROOT/scripts/testnet/nodes.sh"
# shellcheck source-path=SCRIPTDIR source=testnet/demo.sh
. "$ROOT/scripts/testnet/demo.sh"

# Ends all nodes and removes what `make_chain` and `make_node` made, except, if told to, what explains a failure.
clean_up() {
    local i failed=0
    for i in $(running); do kill -TERM "$(pid_of "$i")" 2>/dev/null || true; done
    for i in $(nodes); do within "$STOP_S" is_down "$i" || end_node KILL "$i" || failed=1; done
    remove_namespaces
    [ "$failed" = 0 ] || die "a node does not end" "look at the processes in $DIR/node*/pid"
    [ "${1:-}" != keep ] || return 0
    for i in $(nodes); do rm -rf "${DIR:?}/node$i"; done
    (cd "$DIR" && rm -f genesis.json wallet.json password accounts settings partition partition.new \
        removed*.log headers-*.bin "$MARKER")
    rmdir "$DIR" 2>/dev/null || echo "note: $DIR holds other files, so it stays"
}

# What happens if `up` or `demo` does not get to its end.
abandon() {
    local status=$?
    trap - EXIT INT TERM
    STEP=0
    set +e
    echo "all nodes are ended; their logs stay in $DIR/node*/log until: scripts/testnet.sh down" >&2
    clean_up keep >&2
    [ "$status" != 0 ] || status=1
    exit "$status"
}

need_no_network() {
    [ ! -e "$DIR/$MARKER" ] || die "there is a network in $DIR already" "scripts/testnet.sh down"
    [ ! -e "$DIR" ] || [ -z "$(ls -A "$DIR")" ] || die "$DIR is not empty" "name another directory with DRYSTONE_TESTNET"
}

# Makes the directory, the wallet and the genesis file.
make_chain() {
    local count=$1 netns=$2 name accounts i address allocations=()
    mkdir -p "$DIR"
    DIR=$(cd "$DIR" && pwd)
    echo "made by scripts/testnet.sh, removed by scripts/testnet.sh down" >"$DIR/$MARKER"
    name=drystone-$(printf '%s' "$DIR" | cksum | cut -d ' ' -f 1)
    printf 'netns=%s\nname=%s\n' "$netns" "$name" >"$DIR/settings"
    trap abandon EXIT INT TERM
    (umask 077 && echo "not a secret: the stones of this network are worth nothing" >"$DIR/password")
    accounts=$((FUNDED + count))
    # The development chain has the same prefix of addresses.
    # shellcheck disable=SC2046  # a list of paths
    "$BIN/drystone-wallet" --json --chain dev --keystore "$DIR/wallet.json" --password-file "$DIR/password" \
        new --accounts "$accounts" |
        pick $(awk -v n="$accounts" 'BEGIN { for (i = 0; i < n; i++) print ".accounts." i ".address" }') |
        tr '\t' '\n' | awk '{ print NR - 1, $1 }' >"$DIR/accounts"
    for ((i = 0; i < FUNDED; i++)); do
        address=$(account "$i")
        allocations+=(--allocate "$address=$FUNDS_STONES")
    done
    "$BIN/drystone-node" genesis new --name testnet --kind test --interval "$INTERVAL_MS" --response "$RESPONSE_MS" \
        --bits "$BITS" --pow-limit "$POW_LIMIT" --maturity "$MATURITY" --subsidy "$SUBSIDY_STONES" \
        "${allocations[@]}" --output "$DIR/genesis.json" >/dev/null
    [ "$netns" = no ] || ip netns add "$(wire)" ||
        die "the namespace $(wire) cannot be made" "try again; an earlier network in $DIR may have left it, and is gone now"
}

# Starts a fresh network. On failure everything ends again.
create() {
    local count=$1 miners=$2 netns=$3 i threads peers
    make_chain "$count" "$netns"
    for ((i = 0; i < count; i++)); do
        make_node "$i"
        # Miners are spread, so that both halves of the network have some.
        threads=$(awk -v i="$i" -v n="$count" -v m="$miners" \
            'BEGIN { for (k = 0; k < m; k++) if (int(k * n / m) == i) mines = 1; print mines + 0 }')
        peers=()
        [ "$i" = 0 ] || peers=("$(address_of 0)")
        write_config "$i" "$threads" ${peers[@]+"${peers[@]}"}
        launch "$i"
        # The others need the bootstrap's address; they themselves can start side by side.
        if [ "$i" = 0 ]; then finish_start "$i"; fi
    done
    for ((i = 1; i < count; i++)); do finish_start "$i"; done
    for ((i = 0; i < count; i++)); do
        [ "$count" = 1 ] || within "$START_S" has_peers "$i" ||
            die "node $i has no peers after $START_S s" "read $DIR/node$i/log"
    done
    within "$AGREE_S" agree || die "the nodes do not agree: $DISAGREEMENT" "scripts/testnet.sh status"
}

# What `start_node` does after launching.
finish_start() {
    await_start "$1"
    # shellcheck disable=SC2046  # a list of addresses
    write_config "$1" "$(cat "$DIR/node$1/threads")" $(cat "$DIR/node$1/peers")
}

parse_up() {
    COUNT=5 MINERS=2 NETNS=no
    while [ $# -gt 0 ]; do
        case $1 in
        --netns) NETNS=yes ;;
        --miners)
            [ $# -gt 1 ] || usage "--miners needs a number"
            MINERS=$2
            shift
            ;;
        -*) usage "there is no option $1" ;;
        *) COUNT=$1 ;;
        esac
        shift
    done
    if ! is_number "$COUNT" || [ "$COUNT" -lt 1 ] || [ "$COUNT" -gt "$MAX_NODES" ]; then
        usage "1 to $MAX_NODES nodes can be started, not $COUNT"
    fi
    if ! is_number "$MINERS" || [ "$MINERS" -gt "$COUNT" ]; then usage "of $COUNT nodes $MINERS cannot mine"; fi
    [ "$NETNS" = no ] || need_root
}

cmd_up() {
    parse_up "$@"
    need_no_network
    find_programs
    echo "starting $COUNT nodes, $MINERS of which mine"
    create "$COUNT" "$MINERS" "$NETNS"
    trap - EXIT INT TERM
    local i table
    # Two blocks found at once since the nodes agreed are no news.
    table=$(cmd_status) || { within "$AGREE_S" agree && table=$(cmd_status); } || true
    echo "$table"
    echo
    for ((i = 0; i < FUNDED; i++)); do echo "account $i: $FUNDS_STONES stones, $(account "$i")"; done
    cat <<TEXT

everything is in $DIR
try next:
  scripts/testnet.sh pay 0 1 12.5
  scripts/testnet.sh partition $(halves)
  scripts/testnet.sh status
  scripts/testnet.sh heal
  scripts/testnet.sh down
TEXT
}

# The network cut in two, as `partition` takes it.
halves() {
    nodes | awk '{ node[NR] = $1 } END {
        if (NR < 2) { print "0"; exit }
        for (i = 1; i <= NR; i++) printf "%s%s", node[i], i == int(NR / 2) ? " " : i < NR ? "," : "\n" }'
}

cmd_status() {
    local i pid reply running=0
    {
        printf 'node\tprocess\theight\ttip\tstate root\tpeers\tmempool\tmining\n'
        for i in $(nodes); do
            if ! pid=$(pid_of "$i"); then
                printf '%s\tnot running\t-\t-\t-\t-\t-\t-\n' "$i"
            elif reply=$(post "$i" "[$(request chain_head ""),$(request node_info ""),$(request mempool_info "")]" |
                pick .0.result.height .0.result.hash .0.result.state_root .1.result.peers .2.result.transactions \
                    .1.result.mining.threads .1.result.mining.hashes_per_second .1.result.mining.refusal) &&
                [ -n "$reply" ]; then
                printf '%s\t%s\t%s\n' "$i" "$pid" "$reply"
            else
                printf '%s\t%s, silent\t-\t-\t-\t-\t-\t-\n' "$i" "$pid"
            fi
        done
    } | awk -F '\t' '
        function rate(hashes,    unit) {
            unit = 1
            while (hashes >= 1000 && unit < 5) { hashes /= 1000; unit++ }
            return sprintf(unit == 1 ? "%d %s" : "%.1f %s", hashes, substr("H/s kH/sMH/sGH/sTH/s", 4 * unit - 3, 4))
        }
        NR > 1 && NF > 8 {
            # The zeros of a block hash are its work; what tells blocks apart stands at the end.
            $4 = ".." substr($4, 57); $5 = substr($5, 1, 8) ".."
            $8 = $8 == 0 ? "-" : $10 != "-" ? "no: " $10 : rate($9)
        }
        { for (i = 1; i <= 8; i++) { cell[NR, i] = $i; if (length($i) > width[i]) width[i] = length($i) } }
        END {
            for (row = 1; row <= NR; row++) {
                line = ""
                for (i = 1; i <= 8; i++) line = line sprintf("%-" width[i] "s  ", cell[row, i])
                sub(/ +$/, "", line)
                print line
            }
        }'
    for i in $(running); do running=$((running + 1)); done
    [ ! -f "$DIR/partition" ] || awk '{ print "partition: " $0 }' "$DIR/partition"
    if agree; then
        echo "agreement: all $running running nodes are on one chain"
    else
        echo "no agreement: $DISAGREEMENT"
        return 1
    fi
}

cmd_partition() {
    local group node known
    [ $# -ge 2 ] || usage "a partition needs two groups or more, as in: partition 0,1 2,3,4"
    [ ! -f "$DIR/partition" ] || die "the network is cut already" "scripts/testnet.sh heal"
    known=$(nodes | tr '\n' ' ')
    for group in "$@"; do
        for node in ${group//,/ }; do need_node "$node"; done
    done
    [ "$(printf '%s\n' "$@" | tr ',' '\n' | sort -n | tr '\n' ' ')" = "$known" ] ||
        usage "each node must be in one group: $known"
    printf '%s\n' "$@" | tr ',' ' ' >"$DIR/partition"
    for node in $known; do place_node "$node"; done
    echo "cut: $*"
}

cmd_heal() {
    local node other
    [ -f "$DIR/partition" ] || die "the network is not cut" "scripts/testnet.sh partition $(halves)"
    mv "$DIR/partition" "$DIR/partition.new"
    for node in $(nodes); do place_node "$node"; done
    # On loopback nobody dials whom it had banned, unless it is told. Cables come back by themselves.
    if ! uses_netns; then
        for node in $(running); do
            for other in $(running); do
                if [ "$node" -lt "$other" ] && were_apart "$node" "$other"; then
                    must "$node" net_add_peer "\"$(address_of "$other")\"" .result >/dev/null
                fi
            done
        done
    fi
    rm "$DIR/partition.new"
    echo "healed"
}

were_apart() {
    awk -v a="$1" -v b="$2" '{ for (i = 1; i <= NF; i++) { if ($i == a) x = NR; if ($i == b) y = NR } }
        END { exit x == y }' "$DIR/partition.new"
}

# The wallet, asking one node: wallet NODE ARGUMENT...
wallet() {
    local node=$1
    shift
    at_node "$node" "$BIN/drystone-wallet" --rpc "127.0.0.1:$(cat "$DIR/node$node/rpc_port")" --genesis "$DIR/genesis.json" \
        --keystore "$DIR/wallet.json" --password-file "$DIR/password" "$@"
}

cmd_pay() {
    local from=${1:-0} to=${2:-1} amount=${3:-1} node=${4:-}
    [ $# = 0 ] || [ $# = 3 ] || [ $# = 4 ] || usage "a payment is: pay FROM TO AMOUNT [NODE]"
    if ! is_number "$from" || [ -z "$(account "$from")" ]; then
        die "there is no account $from" "give a number of $DIR/accounts"
    fi
    if is_number "$to"; then
        [ -n "$(account "$to")" ] || die "there is no account $to" "give a number of $DIR/accounts, or an address"
        to=$(account "$to")
    fi
    [ -n "$node" ] || node=$(running | sed -n 1p)
    [ -n "$node" ] || die "no node is running" "scripts/testnet.sh start 0"
    need_node "$node"
    is_running "$node" || die "node $node is not running" "scripts/testnet.sh start $node"
    wallet "$node" --account "$from" --timeout "$PAY_S" send "$to" "$amount" --wait
}

cmd_kill9() {
    need_node "$1"
    is_running "$1" || die "node $1 is not running" "scripts/testnet.sh status"
    end_node KILL "$1" || die "node $1 does not end" "look at process $(pid_of "$1")"
    echo "node $1 killed"
}

cmd_stop() {
    need_node "$1"
    is_running "$1" || die "node $1 is not running" "scripts/testnet.sh status"
    end_node TERM "$1" || die "node $1 does not end" "scripts/testnet.sh kill9 $1"
    echo "node $1 stopped"
}

cmd_start() {
    local node=$1 via=${2:-}
    is_number "$node" || usage "$node is no node's number"
    if [ -d "$DIR/node$node" ]; then
        [ -z "$via" ] || usage "node $node exists, and knows whom to call"
        if is_running "$node"; then die "node $node is running already" "scripts/testnet.sh status"; fi
        start_node "$node"
        echo "node $node started"
    else
        [ "$node" -lt 200 ] || usage "node numbers go up to 199"
        [ -n "$via" ] || via=$(running | sed -n 1p)
        [ -n "$via" ] || die "no node is running that a newcomer could join" "scripts/testnet.sh start 0"
        need_node "$via"
        add_node "$node" "$via"
        echo "node $node is new and knows node $via"
    fi
}

cmd_log() {
    need_node "$1"
    cat "$DIR/node$1/log"
}

cmd_down() {
    [ -f "$DIR/$MARKER" ] || die "there is no network in $DIR" "scripts/testnet.sh up"
    DIR=$(cd "$DIR" && pwd)
    ! uses_netns || need_root
    clean_up
    echo "everything is removed"
}

main() {
    local command=${1:-help}
    [ $# = 0 ] || shift
    case $command in
    help | -h | --help) echo "$HELP" ;;
    up) cmd_up "$@" ;;
    down) [ $# = 0 ] || usage "down takes no argument"; cmd_down ;;
    demo) cmd_demo "$@" ;;
    status | heal)
        [ $# = 0 ] || usage "$command takes no argument"
        need_network
        "cmd_$command"
        ;;
    kill9 | stop | log)
        [ $# = 1 ] || usage "$command needs the number of one node"
        need_network
        "cmd_$command" "$1"
        ;;
    start)
        [ $# = 1 ] || [ $# = 2 ] || usage "start needs the number of a node"
        need_network
        cmd_start "$@"
        ;;
    partition | pay)
        need_network
        "cmd_$command" "$@"
        ;;
    *) usage "there is no command $command" ;;
    esac
}

main "$@"

# shellcheck shell=bash
# A node's life: its configuration, its start, how a newcomer joins; and whether nodes agree.

# write_config NODE THREADS PEER...
write_config() {
    local node=$1 threads=$2 rpc=127.0.0.1:0 listen=127.0.0.1:0 peers=
    shift 2
    [ ! -f "$DIR/node$node/rpc_port" ] || rpc=127.0.0.1:$(cat "$DIR/node$node/rpc_port")
    if uses_netns; then
        listen=$(node_ip "$node"):8646
    elif [ -f "$DIR/node$node/address" ]; then
        listen=$(cat "$DIR/node$node/address")
    fi
    [ $# = 0 ] || peers=$(printf "'%s', " "$@")
    cat >"$DIR/node$node/node.toml" <<TOML
genesis = '../genesis.json'
data_dir = 'data'
rpc = '$rpc'
listen = '$listen'
peers = [${peers%, }]
mine = '$(account "$(reward_account "$node")")'
threads = $threads

# All nodes are on one network, and find each other through the bootstrap alone.
[net]
max_per_ip = 64
group_limits = false
mdns = false
TOML
    printf '%s\n' "$threads" >"$DIR/node$node/threads"
    printf '%s\n' "$*" >"$DIR/node$node/peers"
}

# Starts the program in the background and remembers its process.
launch() {
    local node=$1 home=$DIR/node$1 pid
    local enter=(env)
    if uses_netns; then enter=(ip netns exec "$(namespace "$node")"); fi
    rm -f "$home/data/node.json"
    # A process group of its own: Ctrl-C in this terminal is for the script.
    set -m
    "${enter[@]}" "$BIN/drystone-node" run --config "$home/node.toml" </dev/null >>"$home/log" 2>&1 &
    pid=$!
    set +m
    disown "$pid"
    echo "$pid $(start_time "$pid")" >"$home/pid"
}

has_begun() { is_down "$1" || [ -s "$DIR/node$1/data/node.json" ]; }

# Waits until a launched node answers, and remembers where it is.
await_start() {
    local node=$1 home=$DIR/node$1 rpc p2p peer_id
    if ! within "$START_S" has_begun "$node" || is_down "$node" || ! [ -s "$home/data/node.json" ]; then
        tail -n 8 "$home/log" >&2 || true
        die "node $node did not start; its last lines are above" "read $home/log, then scripts/testnet.sh down"
    fi
    IFS=$'\t' read -r rpc p2p peer_id < <(pick .rpc .p2p .peer_id <"$home/data/node.json")
    echo "${rpc##*:}" >"$home/rpc_port"
    echo "$p2p" >"$home/address"
    echo "$peer_id" >"$home/peer_id"
    within "$START_S" call "$node" node_info "" .result.phase >/dev/null ||
        die "node $node does not answer" "read $home/log"
}

address_of() { cat "$DIR/node$1/address"; }

# Makes a node's directory. `write_config` and `launch` come next.
make_node() {
    mkdir "$DIR/node$1"
    ! uses_netns || make_namespace "$1"
}

# Starts a node that exists.
start_node() {
    local node=$1
    launch "$node"
    await_start "$node"
    # Its ports stay what they are now, so that others find it again.
    # shellcheck disable=SC2046  # a list of addresses
    write_config "$node" "$(cat "$DIR/node$node/threads")" $(cat "$DIR/node$node/peers")
    place_node "$node"
}

# Starts a node that knows only node $2, or whoever is at address $3. In a partition it belongs to that one's side, so it is told whom to call only
# once it stands there.
add_node() {
    local node=$1 via=$2 address=${3:-}
    [ -n "$address" ] || address=$(address_of "$via")
    make_node "$node"
    if [ -f "$DIR/partition" ]; then
        awk -v via="$via" -v node="$node" \
            '{ for (i = 1; i <= NF; i++) if ($i == via) { $0 = $0 " " node; break } print }' \
            "$DIR/partition" >"$DIR/partition.new"
        mv "$DIR/partition.new" "$DIR/partition"
    fi
    write_config "$node" 0
    start_node "$node"
    write_config "$node" 0 "$address"
    must "$node" net_add_peer "\"$address\"" .result >/dev/null
}

# Whether all running nodes are on one chain, at most two blocks apart. Says in DISAGREEMENT why not.
DISAGREEMENT=
agree() {
    local i height hash best=-1 best_node=0 best_hash='' heights=() hashes=() ids=() theirs
    for i in $(running); do
        IFS=$'\t' read -r height hash _ < <(head_of "$i") || { DISAGREEMENT="node $i does not answer"; return 1; }
        ids+=("$i") heights+=("$height") hashes+=("$hash")
        if [ "$height" -gt "$best" ]; then best=$height best_node=$i best_hash=$hash; fi
    done
    if [ "${#ids[@]}" = 0 ]; then DISAGREEMENT="no node is running"; return 1; fi
    for i in "${!ids[@]}"; do
        if [ $((best - heights[i])) -gt 2 ]; then
            DISAGREEMENT="node ${ids[i]} is at height ${heights[i]}, node $best_node at $best"
            return 1
        fi
        theirs=$best_hash
        [ "${heights[i]}" = "$best" ] ||
            theirs=$(call "$best_node" chain_header "${heights[i]}" .result.hash) || theirs=unknown
        if [ "$theirs" != "${hashes[i]}" ]; then
            DISAGREEMENT="at height ${heights[i]} node ${ids[i]} has block ${hashes[i]}, node $best_node has $theirs"
            return 1
        fi
    done
    DISAGREEMENT=
}

# Whether all running nodes have just the same tip and state root, which are then in TIP and STATE_ROOT.
TIP='' STATE_ROOT='' TIP_HEIGHT=''
same_tip() {
    local i hash root height first=
    for i in $(running); do
        IFS=$'\t' read -r hash root height < <(call "$i" chain_head "" .result.hash .result.state_root .result.height) ||
            { DISAGREEMENT="node $i does not answer"; return 1; }
        if [ -z "$first" ]; then
            first=$i TIP=$hash STATE_ROOT=$root TIP_HEIGHT=$height
        elif [ "$hash $root" != "$TIP $STATE_ROOT" ]; then
            DISAGREEMENT="node $first has block $TIP at height $TIP_HEIGHT, node $i has $hash at $height"
            return 1
        fi
    done
    [ -n "$first" ]
}

has_peers() {
    local peers
    peers=$(peers_of "$1") && [ "$peers" -ge "${2:-1}" ]
}

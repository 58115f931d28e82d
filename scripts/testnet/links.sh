# shellcheck shell=bash
# What connects nodes: network namespaces with cables and bridges, and how a network is cut.

# Names that no other network on this machine has.
namespace() { echo "$(setting name)-$1"; }
wire() { echo "$(setting name)-wire"; }
node_ip() { echo "10.77.0.$(($1 + 1))"; }

need_root() {
    [ "$(uname)" = Linux ] || die "--netns needs Linux" "leave out --netns"
    [ "$(id -u)" = 0 ] || die "--netns needs root" "the same with sudo, or without --netns"
    command -v ip >/dev/null || die "--netns needs the program ip" "apt-get install iproute2"
}

# A bridge on the wire for each group of nodes.
make_bridge() {
    ip -n "$(wire)" link show dev "br$1" >/dev/null 2>&1 && return 0
    ip -n "$(wire)" link add name "br$1" type bridge
    ip -n "$(wire)" link set dev "br$1" up
}

plug_in() {
    make_bridge "$2"
    ip -n "$(wire)" link set dev "port$1" master "br$2" up
}

make_namespace() {
    local node=$1 namespace
    namespace=$(namespace "$node")
    ip netns add "$namespace"
    ip -n "$(wire)" link add name "port$node" type veth peer name eth0 netns "$namespace"
    ip -n "$namespace" address add "$(node_ip "$node")/24" dev eth0
    ip -n "$namespace" link set dev lo up
    ip -n "$namespace" link set dev eth0 up
    plug_in "$node" 0
}

remove_namespaces() {
    local name
    uses_netns || return 0
    for name in $(ip netns list | awk -v prefix="$(setting name)-" 'index($1, prefix) == 1 { print $1 }'); do
        ip netns delete "$name"
    done
}

# The group of a node while the network is cut, from 0; nothing otherwise.
group_of() {
    [ ! -f "$DIR/partition" ] ||
        awk -v node="$1" '{ for (i = 1; i <= NF; i++) if ($i == node) print NR - 1 }' "$DIR/partition"
}

are_apart() { [ "$(group_of "$1")" != "$(group_of "$2")" ]; }

# Makes node $1 refuse node $2, if it runs. It remembers that over restarts.
refuse() {
    is_running "$1" && [ -f "$DIR/node$2/peer_id" ] || return 0
    local peer
    peer=$(cat "$DIR/node$2/peer_id")
    must "$1" net_ban "\"$peer\",31536000" .result.target >/dev/null
    grep -qx "$2" "$DIR/node$1/refused" 2>/dev/null || echo "$2" >>"$DIR/node$1/refused"
}

# Takes that back, and only what `refuse` did: a node's own bans are its own affair.
accept() {
    is_running "$1" && grep -qx "$2" "$DIR/node$1/refused" 2>/dev/null || return 0
    must "$1" net_unban "\"$(cat "$DIR/node$2/peer_id")\"" .result >/dev/null
    sed -i.old "/^$2\$/d" "$DIR/node$1/refused"
}

# Has a node stand where the partition says. Both sides refuse each other, so that one that starts later finds it so.
place_node() {
    local node=$1 other group
    if uses_netns; then
        group=$(group_of "$node")
        plug_in "$node" "${group:-0}"
        return
    fi
    for other in $(nodes); do
        [ "$other" != "$node" ] || continue
        if are_apart "$node" "$other"; then
            refuse "$node" "$other"
            refuse "$other" "$node"
        else
            accept "$node" "$other"
            accept "$other" "$node"
        fi
    done
}

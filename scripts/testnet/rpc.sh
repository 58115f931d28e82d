# shellcheck shell=bash
# JSON-RPC over bash's /dev/tcp, and the JSON that comes back.

# Reads JSON and prints the values at the given paths in one line, between tabs. A path is written .result.peers or
# .0.result.peers; what is missing, null or empty is a dash, and an object or an array is the number of its members.
pick() {
    awk -v wanted="$*" '
        { text = text $0 }
        END {
            if (!value("")) exit 1
            count = split(wanted, paths, " ")
            for (i = 1; i <= count; i++) {
                found = paths[i] in values ? values[paths[i]] : ""
                printf "%s%s", found == "" || found == "null" ? "-" : found, i < count ? "\t" : "\n"
            }
        }
        function skip() { sub(/^[ \t\r\n]+/, "", text) }
        function take(pattern,    token) {
            if (!match(text, pattern)) return ""
            token = substr(text, 1, RLENGTH)
            text = substr(text, RLENGTH + 1)
            return token
        }
        function string(    token) {
            token = take("^\"([^\"\\\\]|\\\\.)*\"")
            return substr(token, 2, length(token) - 2)
        }
        function value(path,    open, shut, key, members) {
            skip()
            open = substr(text, 1, 1)
            if (open == "\"") { values[path] = string(); return 1 }
            if (open != "{" && open != "[") { values[path] = take("^[-+.0-9a-zA-Z]+"); return values[path] != "" }
            shut = open == "{" ? "}" : "]"
            text = substr(text, 2)
            members = 0
            for (skip(); substr(text, 1, 1) != shut; skip()) {
                if (members > 0 && take("^,") == "") return 0
                skip()
                key = members
                if (open == "{") { key = string(); skip(); if (take("^:") == "") return 0 }
                if (!value(path "." key)) return 0
                members++
            }
            text = substr(text, 2)
            values[path] = members
            return 1
        }'
}

# Runs a command where a node lives.
at_node() {
    local node=$1
    shift
    if uses_netns; then ip netns exec "$(namespace "$node")" "$@"; else "$@"; fi
}

# For another bash: sends its input to a port of this host and prints what comes back.
# shellcheck disable=SC2016  # that bash expands it
EXCHANGE='exec 3<>"/dev/tcp/127.0.0.1/$1" && cat >&3 && cat <&3'

# Sends a JSON body to a node and prints the reply.
post() {
    local node=$1 body=$2 port cookie
    port=$(cat "$DIR/node$node/rpc_port") && cookie=$(cat "$DIR/node$node/data/.cookie") || return 1
    # HTTP/1.0: the node closes the connection after its reply. The cookie travels in a pipe, where nobody else reads it.
    printf 'POST /rpc HTTP/1.0\r\nHost: localhost\r\nContent-Type: application/json\r\nAuthorization: Bearer %s\r\nContent-Length: %d\r\n\r\n%s' \
        "$cookie" "${#body}" "$body" |
        at_node "$node" timeout "$RPC_S" bash -c "$EXCHANGE" bash "$port" |
        sed '1,/^\r*$/d'
} 2>/dev/null

request() { printf '{"jsonrpc":"2.0","id":1,"method":"%s","params":[%s]}' "$1" "$2"; }

# Calls a method of a node and prints what stands at the given paths of its reply: call NODE METHOD PARAMS PATH...
# 1 if the node does not answer, 2 if its answer is an error, which is then in PROBLEM.
PROBLEM=
call() {
    local node=$1 method=$2 params=$3 reply
    shift 3
    reply=$(post "$node" "$(request "$method" "$params")") && [ -n "$reply" ] || return 1
    PROBLEM=$(pick .error.message <<<"$reply") || return 1
    [ "$PROBLEM" = - ] || return 2
    pick "$@" <<<"$reply"
}

# As `call`, for what must succeed.
must() {
    local status=0
    call "$@" || status=$?
    case $status in
    1) die "node $1 does not answer $2" "scripts/testnet.sh log $1" ;;
    2) die "node $1 refuses $2: $PROBLEM" "scripts/testnet.sh log $1" ;;
    esac
}

# Height, tip and work of a node.
head_of() { call "$1" chain_head "" .result.height .result.hash .result.work; }

peers_of() { call "$1" node_info "" .result.peers; }

# shellcheck shell=bash
# The demo: a story in nine steps, each of which is checked. A step that fails says what was expected and what was found,
# and `abandon` ends the nodes.

STEPS=9
STEP_BEGAN=0
EXPECTED='' # what each funded account holds, in chips

step() {
    STEP=$((STEP + 1)) STEP_BEGAN=$(now_ms)
    printf '\n%s/%s  %s\n' "$STEP" "$STEPS" "$1"
}

note() { printf '     %s\n' "$1"; }

# How long the step has taken.
elapsed() {
    local ms=$(($(now_ms) - STEP_BEGAN))
    printf '%d.%d s' $((ms / 1000)) $((ms % 1000 / 100))
}

# Says what the step has shown.
proved() { printf '     proved: %s (%s)\n' "$1" "$(elapsed)"; }

# Ends the demo: what was expected, what was found.
fail() { die "expected $1; found $2" "read the logs of the nodes, $DIR/node*/log"; }

# Whether this step is to be sabotaged.
sabotaged() {
    [ "${DRYSTONE_DEMO_BREAK:-}" = "$STEP" ] || return 1
    note "sabotage: $1"
}

same_tip_within() { within "$1" same_tip || fail "$2" "$DISAGREEMENT"; }

height_of() { call "$1" chain_head "" .result.height; }

# Whether a node is at least so high.
reached() {
    local height
    height=$(height_of "$1") && [ "$height" -ge "$2" ]
}

# Sends a payment from account $2 to account $3 through node $1, and prints its txid and fee.
send() {
    local reply
    reply=$(wallet "$1" --json --account "$2" send "$(account "$3")" "$4") ||
        fail "node $1 to take a payment from account $2 to $3" "$(pick .error.message <<<"$reply")"
    pick .txid .fee <<<"$reply"
}

# Where a transaction stands on a node: confirmed, pending, unknown or silent.
standing() {
    local status=0 text
    text=$(call "$1" tx_get "\"$2\"" .result.status) || status=$?
    case $status in 0) echo "$text" ;; 2) echo unknown ;; *) echo silent ;; esac
}

# Whether a transaction stands so on all running nodes.
stands() {
    local i
    for i in $(running); do [ "$(standing "$i" "$1")" = "$2" ] || return 1; done
}

# The same, for all to read: "node 0 confirmed, node 1 pending".
standings() {
    local i text=
    for i in $(running); do text="$text${text:+, }node $i $(standing "$i" "$1")"; done
    echo "$text"
}

# Notes that account $1 paid $3 stones and a fee of $4 chips to account $2.
expect_payment() {
    EXPECTED=$(awk -v from="$1" -v to="$2" -v chips="$(($3 * CHIPS))" -v fee="$4" '{
        $(from + 1) = sprintf("%.0f", $(from + 1) - chips - fee); $(to + 1) = sprintf("%.0f", $(to + 1) + chips); print
    }' <<<"$EXPECTED")
}

expected_of() { awk -v n="$(($1 + 1))" '{ print $n }' <<<"$EXPECTED"; }

# Whether the wallet, through node $1, proves that account $2 holds what it should. What it found is in PROVED.
PROVED=
wallet_proves() {
    local balance
    PROVED=$(wallet "$1" --json balance "$(account "$2")" | pick .balance .error.message) || true
    IFS=$'\t' read -r balance _ <<<"$PROVED"
    [ "$balance" = "$(expected_of "$2")" ]
}

wallet_proves_everywhere() {
    local i
    for i in $(running); do
        within 30 wallet_proves "$i" "$1" ||
            fail "the wallet to prove $(expected_of "$1") chips of account $1 through node $i" "$PROVED"
    done
}

# Whether on node $1, at one block, the funded accounts hold what they should and all accounts together what was
# allotted and mined. What it found otherwise is in ACCOUNTS.
ACCOUNTS=
accounts_are_exact() {
    local count i body='' paths=() reply
    count=$(awk 'END { print NR }' "$DIR/accounts")
    for ((i = 0; i < count; i++)); do
        body="$body${body:+,}$(request account_get "\"$(account "$i")\"")"
        paths+=(".$i.result.balance" ".$i.result.immature" ".$i.result.hash" ".$i.result.height")
    done
    reply=$(post "$1" "[$body]" | pick "${paths[@]}") || { ACCOUNTS="no answer of node $1"; return 1; }
    ACCOUNTS=$(awk -v expected="$EXPECTED" -v funded="$FUNDED" -v funds="$FUNDS_STONES" -v subsidy="$SUBSIDY_STONES" \
        -v chips="$CHIPS" '{
            split(expected, wanted, " ")
            for (i = 0; 4 * i < NF; i++) {
                if ($(4 * i + 3) != $3) { print "a new block in between"; exit }
                if (i < funded && $(4 * i + 1) != wanted[i + 1]) {
                    print "account " i " holds " $(4 * i + 1) " chips, not " wanted[i + 1]
                    exit
                }
                sum += $(4 * i + 1) + $(4 * i + 2)
            }
            supply = (funded * funds + subsidy * $4) * chips
            if (sum == supply) print "exact"
            else printf "all accounts hold %.0f chips at height %d, not %.0f\n", sum, $4, supply
        }' <<<"$reply")
    [ "$ACCOUNTS" = exact ]
}

accounts_are_exact_everywhere() {
    local i
    for i in $(running); do
        within 30 accounts_are_exact "$i" || fail "exact balances on node $i" "$ACCOUNTS"
    done
}

# Whether one node has another as a peer or, where cables are cut, can open a connection to it: connections that were open
# before notice nothing yet.
is_linked() {
    if uses_netns; then
        at_node "$1" timeout 0.5 bash -c ": </dev/tcp/$(node_ip "$2")/8646" 2>/dev/null
    else
        post "$1" "$(request net_peers "")" | grep -F "$(cat "$DIR/node$2/peer_id")" >/dev/null
    fi
}

# Whether nodes 0 and 1 are cut off from 2, 3 and 4. What it found otherwise is in LEAK.
LEAK=
is_cut() {
    local i other
    for i in 0 1; do
        for other in 2 3 4; do
            if is_linked "$i" "$other"; then
                LEAK="node $i is linked to node $other"
                return 1
            fi
        done
    done
}

# Whether a block is on the main chain of a node: yes, no, or unknown if it never heard of it.
on_main_chain() {
    local status=0 confirmations
    confirmations=$(call "$1" chain_header "\"$2\"" .result.confirmations) || status=$?
    case "$status $confirmations" in
    "0 -") echo no ;;
    "0 "*) echo yes ;;
    *) echo unknown ;;
    esac
}

cmd_demo() {
    local option netns=no
    for option in "$@"; do
        [ "$option" = --netns ] || usage "demo takes no option but --netns"
        netns=yes
    done
    [[ ${DRYSTONE_DEMO_BREAK:-1} =~ ^[1-9]$ ]] || usage "DRYSTONE_DEMO_BREAK is a step from 1 to $STEPS"
    [ "$netns" = no ] || need_root
    need_no_network
    find_programs
    demo_start "$netns"
    demo_pay
    demo_cut
    demo_grow_apart
    demo_heal
    demo_crash
    demo_newcomer
    demo_without_bootstrap
    demo_end
    trap - EXIT INT TERM
    clean_up
    echo
    echo "all $STEPS steps passed"
}

demo_start() {
    local count=0 i
    step "five nodes, two of which mine; each was told of node 0 alone"
    create 5 2 "$1"
    EXPECTED=$(awk -v n="$FUNDED" -v chips="$((FUNDS_STONES * CHIPS))" \
        'BEGIN { for (i = 0; i < n; i++) printf "%s%s", chips, i < n - 1 ? " " : "\n" }')
    if sabotaged "node 3 is killed"; then end_node KILL 3; fi
    within "$AGREE_S" reached 0 1 || fail "a first block" "none after $AGREE_S s"
    same_tip_within "$AGREE_S" "one tip"
    for i in $(running); do count=$((count + 1)); done
    [ "$count" = 5 ] || fail "5 running nodes" "$count"
    proved "5 nodes mine and follow one chain, block $TIP"
}

demo_pay() {
    local txid fee i
    step "account 0 pays account 1 12 stones through node 1"
    if sabotaged "nobody mines"; then
        for i in 0 2; do must "$i" mining_set 0 .result.threads >/dev/null; done
        sleep 1
    fi
    IFS=$'\t' read -r txid fee < <(send 1 0 1 12)
    [ -n "$txid" ] || exit 1
    within "$DEMO_S" stands "$txid" confirmed ||
        fail "payment $txid in a block on all nodes" "$(standings "$txid")"
    expect_payment 0 1 12 "$fee"
    wallet_proves_everywhere 0
    wallet_proves_everywhere 1
    accounts_are_exact_everywhere
    proved "it is in a block, and the wallet proves the same balances through every node"
}

demo_cut() {
    step "the network is cut: nodes 0 and 1 from nodes 2, 3 and 4"
    sabotaged "it is not cut" || cmd_partition 0,1 2,3,4 >/dev/null
    within 20 is_cut || fail "no link between the sides" "$LEAK"
    proved "no node reaches the other side"
}

# The payments of step 4, which step 5 asks for: on each side one that can stand anywhere, and one of account 0, whose
# first spending forbids the second.
LEFT_TX='' RIGHT_TX='' LEFT_SPENDING='' RIGHT_SPENDING=''
LEFT_FEE='' RIGHT_FEE='' LEFT_SPENDING_FEE='' RIGHT_SPENDING_FEE=''

demo_grow_apart() {
    local height
    step "both sides mine on; account 0 spends the same coins on both"
    height=$(height_of 0)
    if sabotaged "node 2, the miner of its side, rests"; then must 2 mining_set 0 .result.threads >/dev/null; fi
    IFS=$'\t' read -r LEFT_SPENDING LEFT_SPENDING_FEE < <(send 1 0 1 7) && [ -n "$LEFT_SPENDING" ] || exit 1
    IFS=$'\t' read -r RIGHT_SPENDING RIGHT_SPENDING_FEE < <(send 3 0 2 11) && [ -n "$RIGHT_SPENDING" ] || exit 1
    IFS=$'\t' read -r LEFT_TX LEFT_FEE < <(send 1 2 1 5) && [ -n "$LEFT_TX" ] || exit 1
    IFS=$'\t' read -r RIGHT_TX RIGHT_FEE < <(send 3 3 0 3) && [ -n "$RIGHT_TX" ] || exit 1
    within "$DEMO_S" grown_apart "$((height + 4))" ||
        fail "both sides at height $((height + 4)) with their own payments in blocks" \
            "node 0 at $(height_of 0), node 2 at $(height_of 2); of the left payments $(standing 0 "$LEFT_SPENDING") and \
$(standing 0 "$LEFT_TX"), of the right ones $(standing 2 "$RIGHT_SPENDING") and $(standing 2 "$RIGHT_TX")"
    if same_tip; then fail "two chains" "one, block $TIP"; fi
    proved "two chains, each with its payments: $DISAGREEMENT"
}

# Whether both sides are so high, with their own payments in blocks.
grown_apart() {
    local i
    for i in 0 1; do has_grown "$i" "$1" "$LEFT_TX" "$LEFT_SPENDING" || return 1; done
    for i in 2 3 4; do has_grown "$i" "$1" "$RIGHT_TX" "$RIGHT_SPENDING" || return 1; done
}

has_grown() { reached "$1" "$2" && [ "$(standing "$1" "$3") $(standing "$1" "$4")" = "confirmed confirmed" ]; }

demo_heal() {
    local left right i winner kept lost found
    step "the cut is undone"
    IFS=$'\t' read -r _ left _ < <(head_of 0) || fail "an answer of node 0" "none"
    IFS=$'\t' read -r _ right _ < <(head_of 2) || fail "an answer of node 2" "none"
    sabotaged "it is not" || cmd_heal >/dev/null
    same_tip_within "$HEAL_S" "one tip and one state root within $HEAL_S s"
    note "one tip and one state root again, $STATE_ROOT, after $(elapsed)"
    # Of the two tips that stood when the cut was undone, all nodes have just one on their chain, and the same one.
    winner=left kept=$left lost=$right
    [ "$(on_main_chain 0 "$left")" = yes ] || winner=right kept=$right lost=$left
    for i in $(running); do
        found="$(on_main_chain "$i" "$kept"), $(on_main_chain "$i" "$lost")"
        # Who was on the winning side all along may never have heard of the other's blocks.
        [[ $found =~ ^yes,\ (no|unknown)$ ]] || fail "block $kept and not $lost on node $i's chain" "$found"
    done
    note "the $winner side's chain has more work; the other side reorganised"
    # Both can stand on one chain, and do as soon as the losing side's has been mined again.
    for i in "$LEFT_TX" "$RIGHT_TX"; do
        within "$DEMO_S" stands "$i" confirmed || fail "payment $i in a block on all nodes" "$(standings "$i")"
    done
    note "both sides' payments are in blocks of this chain after $(elapsed)"
    expect_payment 2 1 5 "$LEFT_FEE"
    expect_payment 3 0 3 "$RIGHT_FEE"
    if [ $winner = left ]; then
        kept=$LEFT_SPENDING lost=$RIGHT_SPENDING
        expect_payment 0 1 7 "$LEFT_SPENDING_FEE"
    else
        kept=$RIGHT_SPENDING lost=$LEFT_SPENDING
        expect_payment 0 2 11 "$RIGHT_SPENDING_FEE"
    fi
    within "$DEMO_S" stands "$kept" confirmed || fail "payment $kept in a block on all nodes" "$(standings "$kept")"
    within 30 stands "$lost" unknown ||
        fail "payment $lost to be gone, since $kept spends the same coins" "$(standings "$lost")"
    for i in 0 1 2 3; do wallet_proves_everywhere "$i"; done
    accounts_are_exact_everywhere
    proved "no payment is lost, the coins that were spent twice are gone once, and the supply is exact"
}

demo_crash() {
    local height
    step "node 2, a miner, is killed without warning and started again"
    height=$(height_of 0)
    end_node KILL 2 || fail "node 2 to end" "it runs"
    within "$DEMO_S" reached 0 "$((height + 2))" || fail "the others to mine on" "height $(height_of 0)"
    if sabotaged "its ledger is overwritten with zeros"; then
        dd if=/dev/zero of="$DIR/node2/data/ledger.redb" bs=65536 count=16 conv=notrunc 2>/dev/null
    fi
    start_node 2
    within "$DEMO_S" reached 2 "$((height + 2))" || fail "node 2 at height $((height + 2))" "height $(height_of 2)"
    same_tip_within "$AGREE_S" "one tip"
    within "$DEMO_S" mines 2 || fail "node 2 to mine" "$(call 2 node_info "" .result.mining.refusal)"
    accounts_are_exact_everywhere
    proved "it came back with its ledger, caught up, and mines again"
}

mines() {
    local hashes
    hashes=$(call "$1" node_info "" .result.mining.hashes_per_second) && [ "$hashes" -gt 0 ]
}

demo_newcomer() {
    step "a newcomer, node 5, is told of node 3 alone"
    if sabotaged "nobody is where it calls"; then add_node 5 3 "$(nowhere)"; else add_node 5 3; fi
    within "$DEMO_S" has_peers 5 2 || fail "2 peers of node 5" "$(peers_of 5)"
    same_tip_within "$AGREE_S" "one tip"
    wallet_proves_everywhere 1
    proved "it found others through node 3, and its ledger is theirs"
}

# An address of this network at which nobody is.
nowhere() { if uses_netns; then echo 10.77.0.250:8646; else echo 127.0.0.1:1; fi; }

demo_without_bootstrap() {
    step "node 0, the bootstrap, is removed for good; node 4 restarts and is told of nobody; a newcomer, node 6, of node 4"
    end_node TERM 0 || fail "node 0 to end" "it runs"
    remove_node 0
    end_node TERM 4 || fail "node 4 to end" "it runs"
    write_config 4 0
    if sabotaged "node 4 forgets its ledger with its address book, and moves to another port"; then
        rm -rf "$DIR/node4/data"
        sed -i.old "s/^listen = .*/listen = '$(host_of 4):0'/" "$DIR/node4/node.toml"
    fi
    start_node 4
    within "$DEMO_S" has_peers 4 2 || fail "2 peers of node 4 within $DEMO_S s" "$(peers_of 4)"
    note "node 4 found its peers again after $(elapsed)"
    add_node 6 4
    within "$DEMO_S" has_peers 6 2 || fail "2 peers of node 6" "$(peers_of 6)"
    same_tip_within "$AGREE_S" "one tip"
    proved "nobody needs the node that all began with"
}

host_of() { if uses_netns; then node_ip "$1"; else echo 127.0.0.1; fi; }

# Keeps of a node nothing but its log.
remove_node() {
    mv "$DIR/node$1/log" "$DIR/removed$1.log"
    rm -rf "${DIR:?}/node$1"
    ! uses_netns || ip netns delete "$(namespace "$1")"
}

demo_end() {
    local height i count=0
    step "all that are left: nodes 1 to 6"
    height=$(height_of 1)
    if sabotaged "node 3 is killed"; then end_node KILL 3; fi
    within "$DEMO_S" reached 1 "$((height + 2))" || fail "two more blocks" "height $(height_of 1)"
    same_tip_within "$AGREE_S" "one tip"
    for i in $(running); do count=$((count + 1)); done
    [ "$count" = 6 ] || fail "6 running nodes" "$count"
    for i in 0 1 2 3; do wallet_proves_everywhere "$i"; done
    accounts_are_exact_everywhere
    proved "all 6 agree on block $TIP and on what everybody holds"
}

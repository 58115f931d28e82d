#!/usr/bin/env bash
# Fuzzes: gives each target of tests/fuzz what libFuzzer finds, for a number of seconds, one process on each core.
# What it finds on the way goes to target/fuzz/corpus, and the next run starts from there; the seeds in the repository stay.
set -euo pipefail
cd "$(dirname "$0")/.."
unset RUSTFLAGS

# Memory of one process, and the longest time for one input.
MEMORY_MB=2048
INPUT_S=20
CORES=${DRYSTONE_FUZZ_CORES:-$(nproc)}
PACKAGE=tests/fuzz
OUT=target/fuzz

HELP="Fuzzing, on all cores

usage: scripts/fuzz.sh TARGET|all SECONDS

  scripts/fuzz.sh engine 60     one target for a minute
  scripts/fuzz.sh all 600       every target for ten minutes, one after the other

targets: $(sed -n 's/^name = "\(.*\)"$/\1/p' $PACKAGE/Cargo.toml | tail -n +2 | tr '\n' ' ')
DRYSTONE_FUZZ_CORES is how many processes run at once, here $CORES. The exit code is 0 if nothing crashed."

die() { printf 'error: %s\nnext: %s\n' "$1" "$2" >&2; exit "${3:-1}"; }

[ $# -gt 0 ] || { printf '%s\n' "$HELP"; exit 2; }
case $1 in -h | --help | help) printf '%s\n' "$HELP"; exit 0 ;; esac
[ $# = 2 ] || die "two arguments are needed, $# were given" "scripts/fuzz.sh all 60" 2
case $2 in '' | *[!0-9]* | 0) die "$2 is no number of seconds" "scripts/fuzz.sh $1 60" 2 ;; esac
case $CORES in '' | *[!0-9]* | 0) die "DRYSTONE_FUZZ_CORES is $CORES, which is no number of processes" "unset DRYSTONE_FUZZ_CORES" 2 ;; esac
seconds=$2
all=$(sed -n 's/^name = "\(.*\)"$/\1/p' $PACKAGE/Cargo.toml | tail -n +2)
if [ "$1" = all ]; then targets=$all; else targets=$1; fi
grep -qx "$1" <<<"all"$'\n'"$all" || die "there is no target $1" "scripts/fuzz.sh --help" 2

command -v c++ >/dev/null || die "no C++ compiler, which builds libFuzzer" "sudo apt-get install g++"
command -v rustup >/dev/null || die "no rustup" "install it from https://rustup.rs"
rustup toolchain list | grep -q '^nightly' || die "no nightly toolchain" "rustup toolchain install nightly --profile minimal"
cargo fuzz --version >/dev/null 2>&1 || die "no cargo-fuzz" "cargo install cargo-fuzz --locked"

[ "$1" = all ] && which=() || which=("$1")
cargo +nightly fuzz build --fuzz-dir $PACKAGE --target-dir $OUT ${which[@]+"${which[@]}"} ||
    die "the targets do not build" "read the compiler's error above"
binaries=$OUT/$(rustc +nightly -vV | sed -n 's/^host: //p')/release

# The processes that are running, which end with this script.
running=()
trap '[ ${#running[@]} = 0 ] || kill "${running[@]}" 2>/dev/null || true' EXIT

# The last number that stands after a word in some logs, of each the largest or all together.
largest() { sed -n "s/^#.* $1: \([0-9]*\).*/\1/p" "${@:2}" | sort -n | tail -1; }
total() { awk -v word="stat::$1:" '$1 == word { sum += $2 } END { print sum + 0 }' "${@:2}"; }

fuzz() {
    local target=$1 corpus=$OUT/corpus/$1 crashes=$OUT/crashes/$1 logs=() core log pid failed=no
    mkdir -p "$corpus" "$crashes" "$OUT/logs" "$PACKAGE/regressions/$target"
    running=()
    for ((core = 0; core < CORES; core++)); do
        log=$OUT/logs/$target-$core.log
        logs+=("$log")
        # Each reads what the others find, once a second.
        "$binaries/$target" -max_total_time="$seconds" -timeout=$INPUT_S -rss_limit_mb=$MEMORY_MB -reload=1 \
            -print_final_stats=1 -artifact_prefix="$crashes/" \
            "$corpus" "$PACKAGE/corpus/$target" "$PACKAGE/regressions/$target" >"$log" 2>&1 &
        running+=($!)
    done
    for pid in "${running[@]}"; do wait "$pid" || failed=yes; done
    running=()
    rmdir "$PACKAGE/regressions/$target" 2>/dev/null || true
    local found
    # What these processes wrote, also where an earlier run found the same. Slow inputs are noted there too and are no crashes.
    found=$(sed -n 's/^artifact_prefix=.*Test unit written to \(.*\)$/\1/p' "${logs[@]}" | grep -v '/slow-unit-' | sort -u || true)
    printf '%-14s %11s %9s %9s %7s %8s %7s\n' "$target" "$(total number_of_executed_units "${logs[@]}")" \
        "$(largest cov "${logs[@]}")" "$(largest ft "${logs[@]}")" "$(largest corp "${logs[@]}")" \
        "$(printf '%s' "$found" | grep -c . || true)" "$CORES x $seconds s"
    [ "$failed" = yes ] || return 0
    if [ -z "$found" ]; then
        echo "error: $target ended early; next: read ${logs[*]}" >&2
    fi
    while read -r log; do
        [ -n "$log" ] || continue
        printf 'crash: %s\n  replay it:     cargo run -p drystone-tests --bin fuzz -- run %s %s\n' "$log" "$target" "$log"
        printf '  make it small: cargo +nightly fuzz tmin --fuzz-dir %s --target-dir %s %s %s\n' $PACKAGE $OUT "$target" "$log"
        printf '  keep it:       mkdir -p %s && cp %s %s\n' "$PACKAGE/regressions/$target" "$log" "$PACKAGE/regressions/$target/"
    done <<<"$found" >&2
    return 1
}

printf '%-14s %11s %9s %9s %7s %8s %7s\n' target executions edges features corpus crashes time
status=0
for target in $targets; do fuzz "$target" || status=1; done
exit $status

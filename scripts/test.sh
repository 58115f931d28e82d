#!/usr/bin/env bash
# Runs every check of the project: formatting, lints, documentation, tests. Installs what they need and is missing.
set -euo pipefail
cd "$(dirname "$0")/.."
export CARGO_TERM_COLOR=${CARGO_TERM_COLOR:-auto}
# A RUSTFLAGS variable would silently replace the flags of .cargo/config.toml.
unset RUSTFLAGS

step() { printf '\n== %s\n' "$*"; }

if ! command -v cc >/dev/null; then
    step "installing a C compiler"
    if [ "$(id -u)" = 0 ]; then apt-get update -q && apt-get install -qy gcc libc6-dev
    else echo "error: no C compiler; next: sudo apt-get install gcc libc6-dev" >&2; exit 1; fi
fi
if ! command -v cargo >/dev/null; then
    echo "error: no Rust; next: install it from https://rustup.rs" >&2; exit 1
fi
if ! command -v python3 >/dev/null; then
    step "installing python3 for the second verifier"
    if [ "$(id -u)" = 0 ]; then apt-get update -q && apt-get install -qy python3
    else echo "note: no python3, so the second verifier is left out; next: sudo apt-get install python3" >&2; fi
fi
if ! command -v ip >/dev/null; then
    step "installing iproute2 for networks of namespaces"
    if [ "$(id -u)" = 0 ]; then apt-get update -q && apt-get install -qy iproute2
    else echo "note: no iproute2; networks of namespaces need root too, so their tests are left out" >&2; fi
fi
cargo fmt --version >/dev/null 2>&1 || rustup component add rustfmt
cargo clippy --version >/dev/null 2>&1 || rustup component add clippy

step "formatting";    cargo fmt --all --check
step "lints";         cargo clippy --locked --workspace --all-targets -- -D warnings
step "documentation"; RUSTDOCFLAGS="-D warnings" cargo doc --locked --workspace --no-deps --document-private-items
# What the tests start, before any of them waits for it.
step "programs";      cargo build --locked --workspace --bins --examples
step "tests";         cargo test --locked --workspace

# Whole networks under all faults: seeds that were run before, and new ones, whose lines say how to repeat them.
fresh=$(od -An -N7 -tx8 /dev/urandom | tr -d ' ')
simulate() { "${CARGO_TARGET_DIR:-target}/debug/drystone-sim" run --nodes 10 --hours 1 "$@"; }
step "simulation, fixed seeds"; simulate --seed 5eed --seeds 12
step "simulation, fresh seeds"; simulate --seed "$fresh" --seeds 6

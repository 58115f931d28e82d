//! Nonces tried a second on one thread: `Header::hash`, which encodes the header first, two `sha2` digests of the 116
//! bytes, and the portable kernel.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use drystone_core::block::{HEADER_BYTES, Header};
use drystone_core::genesis::main_params;
use drystone_core::hash::{BlockHash, sha256d};
use drystone_core::miner::{CHUNK, Prepared, portable};
use drystone_core::pow::Target;

fn hash_rate(criterion: &mut Criterion) {
    let header = main_params().genesis_block().header;
    let mut group = criterion.benchmark_group("miner");
    group.throughput(Throughput::Elements(CHUNK));
    group.bench_function("header_hash", |bencher| {
        bencher.iter(|| {
            let met = |nonce: &u32| Target::MIN.is_met_by(&Header { nonce: *nonce, ..header }.hash());
            (0..black_box(CHUNK) as u32).find(met)
        });
    });
    group.bench_function("two_digests", |bencher| {
        let mut bytes = header.to_bytes();
        bencher.iter(|| {
            (0..black_box(CHUNK) as u32).find(|nonce| {
                bytes[HEADER_BYTES - 4..].copy_from_slice(&nonce.to_le_bytes());
                Target::MIN.is_met_by(&BlockHash(sha256d(&bytes)))
            })
        });
    });
    let prepared = Prepared::new(&header, Target::MIN);
    group.bench_function("portable", |bencher| {
        bencher.iter(|| portable::search(&prepared, 0..black_box(CHUNK)));
    });
    group.finish();
}

criterion_group!(benches, hash_rate);
criterion_main!(benches);

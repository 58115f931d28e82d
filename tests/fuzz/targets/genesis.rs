#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    (drystone_tests::fuzz::target("genesis").run)(input);
});

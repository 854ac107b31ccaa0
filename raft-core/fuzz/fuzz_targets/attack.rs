//! One core against a driver and peers of bad faith. What must hold is in `raft-core/tests/attack/mod.rs`.
#![no_main]

#[path = "../../tests/attack/mod.rs"]
mod attack;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let inputs = attack::decode(bytes);
    assert_eq!(
        attack::run(&inputs),
        attack::run(&inputs),
        "the same inputs, the same effects"
    );
});

//! Looks for input that breaks the law of `translation` (`tests/laws`).
#![no_main]

#[path = "../../tests/fixtures/mod.rs"]
mod fixtures;
#[path = "../../tests/laws/mod.rs"]
mod laws;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| laws::law("translation")(data));

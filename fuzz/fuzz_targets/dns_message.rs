#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| dns64::fuzzing::message(data));

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| nat64_fuzz::bodies::fragments::run(data));

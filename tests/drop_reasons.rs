//! `docs/reference/drop-reasons.md` says what the code says. `UPDATE_DOCS=1 cargo test --test drop_reasons` writes it anew.
#![forbid(unsafe_code)]

use std::fmt::Write;

use nat64_core::DropReason;

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/reference/drop-reasons.md");

const HEAD: &str = "# Drop reasons

A packet that goes no further has exactly one of these reasons. `nat64 status` counts them by these names.

| Reason | What happened | What to do |
|---|---|---|
";

#[test]
fn the_page_of_drop_reasons_is_up_to_date() {
    let mut page = HEAD.to_owned();
    for reason in DropReason::ALL {
        writeln!(page, "| `{}` | {} | {} |", reason.name(), reason.meaning(), reason.remedy()).unwrap();
    }
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(PAGE, &page).unwrap();
    }
    let written = std::fs::read_to_string(PAGE).unwrap_or_default();
    assert!(written == page, "{PAGE} differs from the code; run this test with UPDATE_DOCS=1");
}

#[test]
fn names_are_unique_and_made_of_lower_case_and_hyphens() {
    let mut names: Vec<_> = DropReason::ALL.iter().map(|reason| reason.name()).collect();
    assert!(names.iter().all(|name| name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-')));
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), DropReason::ALL.len());
}

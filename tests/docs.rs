//! Links between pages of the documentation, and their pictures.
#![forbid(unsafe_code)]

use std::fs;
use std::path::{Path, PathBuf};

/// All pages.
fn pages(directory: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).expect("docs/ can be read").flatten() {
        let path = entry.path();
        if path.is_dir() {
            pages(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "md") {
            into.push(path);
        }
    }
}

/// The targets of links and images, without those in code.
fn targets(text: &str) -> Vec<&str> {
    let mut is_code = false;
    let lines = text.lines().filter(|line| {
        is_code ^= line.trim_start().starts_with("```");
        !is_code
    });
    lines.flat_map(|line| line.split("](").skip(1)).filter_map(|rest| rest.split(')').next()).collect()
}

/// The name by which a heading is linked to.
fn anchor(heading: &str) -> String {
    let kept = heading.trim().to_lowercase().replace(' ', "-");
    kept.chars().filter(|c| c.is_alphanumeric() || "-_".contains(*c)).collect()
}

#[test]
fn every_link_leads_somewhere() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut all = vec![root.join("README.md"), root.join("CHANGELOG.md")];
    pages(&root.join("docs"), &mut all);
    let mut wrong = Vec::new();
    for page in &all {
        let text = fs::read_to_string(page).expect("a page can be read");
        for target in targets(&text).into_iter().filter(|target| !target.contains("://")) {
            let (file, part) = target.split_once('#').map_or((target, None), |(file, part)| (file, Some(part)));
            let leads_to = if file.is_empty() { page.clone() } else { page.with_file_name("").join(file) };
            let has_part = part.is_none_or(|part| {
                let text = fs::read_to_string(&leads_to).unwrap_or_default();
                text.lines()
                    .filter(|line| line.starts_with('#'))
                    .any(|line| anchor(line.trim_start_matches('#')) == part)
            });
            if !leads_to.exists() || !has_part {
                wrong.push(format!("{}: {target}", page.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn every_page_and_picture_is_led_to() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut all = vec![root.join("README.md")];
    pages(&root.join("docs"), &mut all);
    let mut known = Vec::new();
    for page in &all {
        let text = fs::read_to_string(page).expect("a page can be read");
        let files = targets(&text).into_iter().filter_map(|target| target.split('#').next().map(str::to_owned));
        known.extend(files.filter_map(|file| fs::canonicalize(page.with_file_name("").join(file)).ok()));
    }
    let pictures = fs::read_dir(root.join("docs/pictures")).expect("there are pictures").flatten();
    let wanted = all.into_iter().skip(1).chain(pictures.map(|entry| entry.path()));
    let lonely: Vec<PathBuf> =
        wanted.filter(|page| !known.contains(&fs::canonicalize(page).expect("it exists"))).collect();
    assert!(lonely.is_empty(), "nothing leads to {lonely:#?}");
}

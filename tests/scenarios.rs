//! Scenario files in virtual time: the production pipeline, ingress included, in front of simulated providers.
//!
//! Each file under `tests/scenarios/` is a small world with what must happen in it and why; its form is described in
//! `tests/scenarios/README.md`. All failures of all files are printed together. No socket is opened and no time passes.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on stops")]

mod scenario;
mod tokens;

use std::path::PathBuf;

use scenario::Scenario;

#[test]
fn every_scenario_happens_as_written() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios");
    let wanted = std::env::var("SCENARIO").unwrap_or_default();
    let mut files: Vec<PathBuf> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "toml"))
        .filter(|path| path.to_string_lossy().contains(&wanted))
        .collect();
    files.sort();
    assert!(!files.is_empty(), "no scenario files in {}", folder.display());
    let mut failures = Vec::new();
    for file in &files {
        let name = file.file_stem().unwrap().to_string_lossy().into_owned();
        let text = std::fs::read_to_string(file).unwrap();
        let problems = match toml::from_str::<Scenario>(&text) {
            Ok(scenario) => scenario.run(),
            Err(fault) => vec![fault.to_string()],
        };
        failures.extend(problems.into_iter().map(|problem| format!("{name}: {problem}")));
    }
    assert!(
        failures.is_empty(),
        "{} of {} scenarios failed; SCENARIO=name runs one:\n{}",
        failures.len(),
        files.len(),
        failures.join("\n")
    );
}

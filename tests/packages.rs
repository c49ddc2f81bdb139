//! `make install` and `make uninstall`, into a folder that stands for the system: what is installed is found where systems
//! look for it, works from there, and goes again.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on stops, and says what it expected")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A folder that stands for the system, until it is dropped.
struct System(PathBuf);

impl System {
    fn new(test: &str) -> Self {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("packages-{test}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        Self(path)
    }

    fn make(&self, target: &str) -> String {
        self.make_with(target, &["PREFIX=/opt/gateway"])
    }

    /// What make prints.
    fn make_with(&self, target: &str, settings: &[&str]) -> String {
        let mut make = Command::new("make");
        make.current_dir(env!("CARGO_MANIFEST_DIR")).arg("--no-print-directory").arg(target).args(settings);
        make.arg(format!("DESTDIR={}", self.0.display())).arg(format!("BINARY={}", env!("CARGO_BIN_EXE_tidegate")));
        // Whatever runs the tests with make has its say in these.
        let output = make.env_remove("MAKEFLAGS").env_remove("MAKELEVEL").output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    fn read(&self, path: &str) -> String {
        fs::read_to_string(self.0.join(path)).unwrap_or_else(|fault| panic!("{path}: {fault}"))
    }

    /// Every file, by its path.
    fn files(&self) -> Vec<String> {
        let mut files = Vec::new();
        let mut folders = vec![self.0.clone()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                match path.is_dir() {
                    true => folders.push(path),
                    false => files.push(path.strip_prefix(&self.0).unwrap().to_str().unwrap().to_owned()),
                }
            }
        }
        files.sort();
        files
    }
}

impl Drop for System {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// What the installed program writes.
fn said(system: &System, arguments: &[&str]) -> String {
    let output = Command::new(system.0.join("opt/gateway/bin/tidegate"))
        .args(arguments)
        .env_clear()
        .current_dir(&system.0)
        .output()
        .unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn what_is_installed_works_from_where_it_is() {
    let system = System::new("all");
    system.make("install");
    let version = format!("tidegate {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(said(&system, &["--version"]), version);
    // Without symbols: they are most of an unoptimised program.
    let [installed, built] = [system.0.join("opt/gateway/bin/tidegate"), env!("CARGO_BIN_EXE_tidegate").into()]
        .map(|path| fs::metadata(path).unwrap());
    assert!(installed.len() < built.len() / 2 && installed.permissions().mode() & 0o777 == 0o755);

    // Everybody may read it, whatever the umask of whoever installs.
    for file in system.files() {
        let mode = fs::metadata(system.0.join(&file)).unwrap().permissions().mode();
        assert_eq!(mode & 0o444, 0o444, "{file}");
    }

    // The configuration that it is installed with is one, and so is the example.
    let checked = said(&system, &["check", "--config", "opt/gateway/etc/tidegate/gateway.toml"]);
    let verdict = checked.lines().last().unwrap();
    assert!(verdict.starts_with("ok: opt/gateway/etc/tidegate/gateway.toml, "), "{checked}");
    said(&system, &["check", "--config", "opt/gateway/share/tidegate/config/gateway.toml"]);
    let schema = "opt/gateway/share/tidegate/config/gateway.schema.json";
    assert!(system.read("opt/gateway/etc/tidegate/gateway.toml").starts_with(&format!("#:schema /{schema}\n")));
    assert!(system.read(schema).starts_with('{'));

    // The units name the program, the documents and the C library's file where they are.
    let service = system.read("opt/gateway/lib/systemd/system/tidegate.service");
    assert!(service.contains("\nExecStart=/opt/gateway/bin/tidegate serve --config /opt/gateway/etc/"), "{service}");
    for path in service.split(|letter: char| letter.is_whitespace() || "=:".contains(letter)) {
        let path = path.trim_start_matches("file").trim_start_matches("//");
        // Keys of providers are for the operator to write.
        if let Some(rest) = path.strip_prefix("/opt/").filter(|rest| !rest.ends_with("etc/tidegate/environment")) {
            assert!(system.0.join("opt").join(rest).exists(), "the service names {path}, which is not installed");
        }
    }
    assert!(!service.contains("/usr/local"), "{service}");
    assert!(system.read("opt/gateway/lib/systemd/system/tidegate.socket").contains("ListenStream="));
}

#[test]
fn shells_and_the_manual_know_every_command() {
    let system = System::new("commands");
    system.make("install");
    let help = said(&system, &["--help"]);
    let commands = help.split("Commands:\n").nth(1).unwrap().split("\n\n").next().unwrap();
    let commands = commands.lines().filter_map(|line| line.strip_prefix("  ")?.split(' ').next());
    let commands: Vec<&str> = commands.filter(|name| !name.is_empty() && *name != "help").collect();
    assert!(commands.contains(&"serve") && commands.contains(&"completions"), "{commands:?}");
    let share = "opt/gateway/share";
    let main = system.read(&format!("{share}/man/man1/tidegate.1"));
    assert!(main.starts_with(".ie") || main.contains(".TH tidegate 1"), "{main}");
    for file in ["bash-completion/completions/tidegate", "zsh/site-functions/_tidegate"] {
        let completions = system.read(&format!("{share}/{file}"));
        assert!(commands.iter().all(|command| completions.contains(command)), "{file}");
    }
    for command in &commands {
        let page = system.read(&format!("{share}/man/man1/tidegate-{command}.1"));
        assert!(page.contains(&format!("tidegate\\-{}", command.replace('-', "\\-"))), "{page}");
    }
    let fish = system.read(&format!("{share}/fish/vendor_completions.d/tidegate.fish"));
    assert!(commands.iter().all(|command| fish.contains(&format!("-a \"{command}\""))), "{fish}");
    // As bash completes it: the first word that begins so.
    let script = system.0.join(share).join("bash-completion/completions/tidegate");
    let complete = format!(
        "source {}; COMP_WORDS=(tidegate com); COMP_CWORD=1; _tidegate tidegate com tidegate; echo \"${{COMPREPLY[@]}}\"",
        script.display()
    );
    let output = Command::new("bash").args(["--norc", "-c", &complete]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "completions\n", "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_second_installation_keeps_the_configuration_and_a_removal_leaves_only_that() {
    let system = System::new("twice");
    system.make("install");
    let config = system.0.join("opt/gateway/etc/tidegate/gateway.toml");
    fs::write(&config, "environment = \"staging\"\n").unwrap();
    system.make("install");
    assert_eq!(fs::read_to_string(&config).unwrap(), "environment = \"staging\"\n");
    system.make("uninstall");
    assert_eq!(system.files(), ["opt/gateway/etc/tidegate/gateway.toml"]);
}

#[test]
fn a_manual_that_cannot_be_written_says_where() {
    let output =
        Command::new(env!("CARGO_BIN_EXE_tidegate")).args(["man", "/dev/null/manual"]).env_clear().output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.code() == Some(1) && said.contains("could not write the manual into /dev/null/manual"),
        "{said}"
    );
}

/// Where the configuration and the unit are with these settings, and the commands that are printed.
fn installed(test: &str, settings: &[&str]) -> (Vec<String>, String) {
    let system = System::new(test);
    let printed = system.make_with("install", settings);
    let here = |file: &String| file.ends_with("/gateway.toml") && file.contains("etc/") || file.ends_with(".service");
    let found = system.files().into_iter().filter(|file| !file.contains("/share/")).filter(here).collect();
    for word in printed.split_whitespace().filter(|word| word.starts_with('/')) {
        assert!(system.0.join(&word[1..]).exists(), "{word} is not installed: {printed}");
    }
    system.make_with("uninstall", settings);
    let left: Vec<String> = system.files();
    assert!(left.len() == 1 && left[0].ends_with("etc/tidegate/gateway.toml"), "{left:?}");
    (found, printed)
}

#[test]
fn the_configuration_of_a_prefix_is_below_it_and_that_of_the_system_in_etc() {
    let unit = |prefix: &str| format!("{prefix}/lib/systemd/system/tidegate.service");
    for (test, prefix) in [("usr", "usr"), ("local", "usr/local")] {
        let (found, printed) = installed(test, &[&format!("PREFIX=/{prefix}")]);
        assert_eq!(found, ["etc/tidegate/gateway.toml".to_owned(), unit(prefix)]);
        assert!(
            printed.contains(&format!("/{prefix}/bin/tidegate serve --config /etc/tidegate/gateway.toml")),
            "{printed}"
        );
    }
    // Services of systemd do not see homes.
    let home = format!("{}/sam/.local", "home");
    let (found, printed) = installed("home", &[&format!("PREFIX=/{home}")]);
    assert_eq!(found, [format!("{home}/etc/tidegate/gateway.toml")]);
    assert!(printed.contains(&format!("tidegate serve --config /{home}/etc/tidegate/gateway.toml")), "{printed}");
    let (found, printed) = installed("chosen", &["PREFIX=/opt/gateway", "SYSCONFDIR=/etc"]);
    assert_eq!(found, ["etc/tidegate/gateway.toml".to_owned(), unit("opt/gateway")]);
    assert!(printed.contains("/opt/gateway/lib/systemd/system/tidegate.socket"), "{printed}");
}

#[test]
fn every_link_of_the_installed_documents_leads_somewhere() {
    let system = System::new("links");
    system.make("install");
    let documents = system.0.join("opt/gateway/share/doc/tidegate").canonicalize().unwrap();
    let share = system.0.join("opt/gateway/share").canonicalize().unwrap();
    let mut links = 0;
    for file in system.files().iter().filter(|file| file.ends_with(".md")) {
        let path = system.0.join(file);
        let text = fs::read_to_string(&path).unwrap();
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let target = link.split(['#', ' ']).next().unwrap();
            if target.is_empty() || target.contains("://") || target.starts_with("mailto:") {
                continue;
            }
            let found = path.parent().unwrap().join(target).canonicalize();
            let found = found.unwrap_or_else(|fault| panic!("{file}: {link}: {fault}"));
            assert!(found.starts_with(&share), "{file}: {link} leads out of what is installed");
            links += 1;
        }
    }
    assert!(links > 200, "only {links} links were found");
    assert!(documents.join("docs/runbook.md").exists() && documents.join("README.md").exists());
}

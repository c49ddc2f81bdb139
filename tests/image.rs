//! The image that the Dockerfile describes, put together without docker: its layers weigh no more than they may, and the gateway
//! runs in a root of nothing but them, as the image's user.
//!
//! `make check-image` builds the static program and runs this. It needs root, for `chroot` and files of another user.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on stops, and says what it expected")]

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

#[path = "image/dockerfile.rs"]
mod dockerfile;
#[path = "image/network.rs"]
mod network;

use dockerfile::Image;

/// The most that the layers may weigh, compressed as a registry keeps them: by default, and where the image is built with zstd. The aim
/// is 10 MB; docs/numbers.md says by how much it is missed, and this keeps it from getting worse than it was.
const MOST_GZIP: u64 = 13_500_000;
const MOST_ZSTD: u64 = 12_550_000;

/// The image's user.
const USER: u32 = 65532;

fn root_of_project() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The program that is shipped.
fn program() -> PathBuf {
    let path = root_of_project().join("target/dist/tidegate");
    assert!(path.exists(), "{} is missing; run: make check-image", path.display());
    path
}

/// What a command has written, if it succeeded.
fn said(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    let output = output.unwrap_or_else(|fault| panic!("{program}: {fault}"));
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{program} {arguments:?}: {said}");
    said
}

#[ignore = "needs the shipped build: make check-image"]
#[test]
fn the_program_needs_no_library_of_the_system() {
    let path = program();
    let path = path.to_str().unwrap();
    assert!(said("ldd", &[path]).contains("statically linked"));
    let headers = said("readelf", &["--program-headers", "--dynamic", "--wide", path]);
    assert!(!headers.contains("INTERP") && !headers.contains("(NEEDED)"), "{headers}");
}

#[ignore = "needs the shipped build and root: make check-image"]
#[test]
fn the_image_is_small_and_a_gateway_runs_in_nothing_but_it() {
    if !rustix::process::geteuid().is_root() {
        assert!(std::env::var_os("CI").is_none(), "only root can put the image's layers together, and CI has to");
        println!(
            "SKIPPED: only root can put the image's layers together and start a gateway in them; nothing was weighed"
        );
        return;
    }
    let folder = Folder::new();
    let image = Image::read(&root_of_project().join("Dockerfile"));
    let layers = image.assemble(root_of_project(), &program(), &folder.0);
    let gzip: u64 = layers.iter().map(|layer| layer.gzip).sum();
    let zstd: u64 = layers.iter().map(|layer| layer.zstd).sum();
    println!("bytes: gzip zstd");
    for layer in &layers {
        println!("{:>10} {:>10}  {}", layer.gzip, layer.zstd, layer.line);
    }
    println!("{gzip:>10} {zstd:>10}  in all");
    assert!(gzip <= MOST_GZIP, "with gzip the image has more than {MOST_GZIP} bytes");
    assert!(zstd <= MOST_ZSTD, "with zstd the image has more than {MOST_ZSTD} bytes");

    let root = folder.0.join("root");
    let shell = ["bin/sh", "usr/bin/sh", "bin/bash", "lib", "lib64"].map(|path| root.join(path));
    assert!(shell.iter().all(|path| !path.exists()), "there is more in the image than the gateway");

    // What a container's runtime brings: randomness, and two files for names.
    fs::create_dir(root.join("dev")).unwrap();
    for (device, minor) in [("dev/random", "8"), ("dev/urandom", "9")] {
        said("mknod", &["--mode=666", root.join(device).to_str().unwrap(), "c", "1", minor]);
    }
    let provider = network::provider();
    let names = network::name_server("by-dns.test");
    fs::write(root.join("etc/hosts"), "127.0.0.1 localhost by-hosts.test\n").unwrap();
    fs::write(root.join("etc/resolv.conf"), format!("nameserver {names}\n")).unwrap();
    let variables = [
        ("PORT", "0".to_owned()),
        ("ADMIN_ADDR", "127.0.0.1:0".to_owned()),
        ("TOGETHER_API_KEY", "k".to_owned()),
        ("TOGETHER_BASE_URL", format!("http://by-dns.test:{}/v1", provider.port())),
        ("OPENAI_API_KEY", "k".to_owned()),
        ("OPENAI_BASE_URL", format!("http://by-hosts.test:{}/v1", provider.port())),
    ];
    let mut gateway = Gateway::start(&image, &root, &variables);
    assert_eq!(network::ask(&gateway.address, "GET", "/health/live", "").0, 200);

    // Each provider's answer says by which name it was reached: one is in the file of hosts, one only in DNS.
    let chat = r#"{"model":"m","messages":[{"role":"user","content":"hi"}]}"#;
    let (status, answer) = network::ask(&gateway.address, "POST", "/v1/chat/completions", chat);
    assert!(status == 200 && answer.contains("reached as by-dns.test"), "{status} {answer}");
    let (status, answer) = network::ask(&gateway.address, "POST", "/api/chat", r#"{"message":"hi"}"#);
    assert!(status == 200 && answer.contains("reached as by-hosts.test"), "{status} {answer}");

    let job = r#"{"type":"custom_prompt","prompt":"hi"}"#;
    let (status, answer) = network::ask(&gateway.address, "POST", "/api/queue/llm", job);
    assert_eq!(status, 202, "{answer}");
    let jobs = fs::metadata(root.join("data/tidegate-jobs.redb")).unwrap();
    assert_eq!(std::os::unix::fs::MetadataExt::uid(&jobs), USER);

    // The image's own check, as it is written; it has no shell to help it.
    let check: Vec<&str> = image.health_check.iter().map(String::as_str).collect();
    let port = gateway.address.rsplit(':').next().unwrap().to_owned();
    let checked = inside(&image, &root, &check, &[("PORT", port.clone())]).output().unwrap();
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stdout));
    assert!(gateway.end().success());
    let checked = inside(&image, &root, &check, &[("PORT", port)]).output().unwrap();
    assert_eq!(checked.status.code(), Some(2), "nobody answers any more");
}

/// A command in the image: its root, folder, user and variables, and no other.
fn inside(image: &Image, root: &Path, words: &[&str], variables: &[(&str, String)]) -> Command {
    // By its path: it would be looked for among the image's programs.
    let mut command = Command::new("/usr/bin/unshare");
    command.arg(format!("--root={}", root.display())).arg(format!("--wd={}", image.folder));
    command.arg(format!("--setuid={USER}")).arg(format!("--setgid={USER}"));
    command.args(words).env_clear().envs(image.variables.iter().cloned()).envs(variables.iter().cloned());
    command
}

/// A gateway, until it is dropped.
struct Gateway {
    child: Child,
    address: String,
}

impl Gateway {
    fn start(image: &Image, root: &Path, variables: &[(&str, String)]) -> Self {
        let words: Vec<&str> = image.command.iter().map(String::as_str).collect();
        let mut child = inside(image, root, &words, variables).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let line =
            lines.find(|line| line.contains("listening on http://")).unwrap_or_else(|| panic!("it did not start"));
        // Or its log would fill the pipe.
        std::thread::spawn(move || lines.for_each(drop));
        let port = line.split("listening on http://").nth(1).unwrap().split([':', '"']).nth(1).unwrap();
        Self { address: format!("127.0.0.1:{port}"), child }
    }

    /// As an orchestrator ends it.
    fn end(&mut self) -> ExitStatus {
        let id = rustix::process::Pid::from_raw(self.child.id().try_into().unwrap()).unwrap();
        rustix::process::kill_process(id, rustix::process::Signal::TERM).unwrap();
        self.child.wait().unwrap()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A folder of the test's own, until it is dropped.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("image-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

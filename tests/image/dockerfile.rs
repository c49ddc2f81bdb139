//! Reads the last stage of the Dockerfile, and does what it says: layers of copied files, and a root made of them.
//!
//! It knows the instructions that this Dockerfile uses; any other stops the test.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

/// What an image is made of and how it is run.
#[derive(Default)]
pub(crate) struct Image {
    copies: Vec<Copy>,
    pub(crate) variables: Vec<(String, String)>,
    /// Where its program runs.
    pub(crate) folder: String,
    /// What runs: entry point and command.
    pub(crate) command: Vec<String>,
    pub(crate) health_check: Vec<String>,
}

/// What a layer weighs in the two forms that registries keep, in bytes.
pub(crate) struct Layer {
    pub(crate) line: String,
    pub(crate) gzip: u64,
    pub(crate) zstd: u64,
}

/// BuildKit has an encoder of its own; at its best it compresses the program within 1 % of this level (docs/numbers.md).
const ZSTD_LEVEL: i32 = 9;

/// `COPY`: a layer.
struct Copy {
    line: String,
    from_build: bool,
    owner: u32,
    mode: Option<u32>,
    source: String,
    to: String,
}

impl Image {
    pub(crate) fn read(path: &Path) -> Self {
        let text = fs::read_to_string(path).unwrap().replace("\\\n", "");
        // An earlier stage counts only by what is copied from it.
        let (_, stage) = text.rsplit_once("\nFROM ").unwrap();
        let (base, stage) = stage.split_once('\n').unwrap();
        assert_eq!(base, "scratch", "the layers of another base count too");
        let lines = stage.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        let mut image = Self::default();
        for line in lines {
            let (word, rest) = line.split_once(' ').unwrap();
            match word {
                "COPY" => image.copies.push(Copy::read(line, rest)),
                "ENV" => {
                    let (name, value) = rest.split_once('=').unwrap();
                    image.variables.push((name.to_owned(), value.to_owned()));
                }
                "WORKDIR" => image.folder = rest.to_owned(),
                "ENTRYPOINT" | "CMD" => image.command.extend(words(rest)),
                "HEALTHCHECK" => image.health_check = words(rest.split_once("CMD ").unwrap().1),
                "USER" => assert_eq!(rest, format!("{0}:{0}", super::USER)),
                "EXPOSE" | "STOPSIGNAL" | "VOLUME" => {}
                _ => panic!("the test does not know this instruction: {line}"),
            }
        }
        image
    }

    /// Makes the layers and the root in `folder`; returns what each layer weighs.
    pub(crate) fn assemble(&self, project: &Path, program: &Path, folder: &Path) -> Vec<Layer> {
        let root = folder.join("root");
        fs::create_dir_all(root.join(self.folder.trim_start_matches('/'))).unwrap();
        let layers = self.copies.iter().enumerate().map(|(number, copy)| {
            let layer = folder.join(format!("layer-{number}"));
            copy.make(&copy.found(project, program, folder), &layer);
            let archive = folder.join(format!("{number}.tar"));
            let (archive, layer) = (archive.to_str().unwrap(), layer.to_str().unwrap());
            run("tar", &["--create", "--file", archive, "--directory", layer, "."]);
            run("cp", &["--archive", &format!("{layer}/."), root.to_str().unwrap()]);
            let zstd = zstd::encode_all(fs::File::open(archive).unwrap(), ZSTD_LEVEL).unwrap().len() as u64;
            run("gzip", &[archive]);
            Layer { line: copy.line.clone(), gzip: fs::metadata(format!("{archive}.gz")).unwrap().len(), zstd }
        });
        layers.collect()
    }
}

impl Copy {
    fn read(line: &str, rest: &str) -> Self {
        let mut copy = Self {
            line: line.to_owned(),
            from_build: false,
            owner: 0,
            mode: None,
            source: String::new(),
            to: String::new(),
        };
        let mut paths = Vec::new();
        for word in rest.split_whitespace() {
            match word.split_once('=') {
                Some(("--from", "build")) => copy.from_build = true,
                Some(("--chown", owner)) => copy.owner = owner.split(':').next().unwrap().parse().unwrap(),
                Some(("--chmod", mode)) => copy.mode = Some(u32::from_str_radix(mode, 8).unwrap()),
                Some(_) => panic!("the test does not know this option: {line}"),
                None => paths.push(word.to_owned()),
            }
        }
        let [source, to] = <[String; 2]>::try_from(paths).unwrap();
        (copy.source, copy.to) = (source, to);
        copy
    }

    /// Where its source is on this machine.
    fn found(&self, project: &Path, program: &Path, folder: &Path) -> PathBuf {
        if !self.from_build {
            let sent = fs::read_to_string(project.join(".dockerignore")).unwrap();
            let is_sent = |line: &str| line.strip_prefix('!').is_some_and(|it| Path::new(&self.source).starts_with(it));
            assert!(sent.lines().any(is_sent), "docker is not given {}", self.source);
            return project.join(&self.source);
        }
        match self.source.as_str() {
            "/src/target/dist/tidegate" => {
                let stripped = folder.join("tidegate");
                run("strip", &["-o", stripped.to_str().unwrap(), program.to_str().unwrap()]);
                stripped
            }
            "/data" => {
                let empty = folder.join("data");
                fs::create_dir(&empty).unwrap();
                empty
            }
            system => PathBuf::from(system),
        }
    }

    /// The layer: the copied files below the place that they are copied to.
    fn make(&self, source: &Path, layer: &Path) {
        let to = layer.join(self.to.trim_start_matches('/'));
        // A path that is not absolute begins at the image's folder.
        let to = if self.to.starts_with('/') { to } else { layer.join("app").join(&self.to) };
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        run("cp", &["--recursive", "--dereference", source.to_str().unwrap(), to.to_str().unwrap()]);
        run("chmod", &["--recursive", "u=rwX,go=rX", layer.to_str().unwrap()]);
        if let Some(mode) = self.mode {
            fs::set_permissions(&to, fs::Permissions::from_mode(mode)).unwrap();
        }
        chown(&to, Some(self.owner), Some(self.owner)).unwrap();
    }
}

/// A list of words as JSON.
fn words(list: &str) -> Vec<String> {
    serde_json::from_str(list).unwrap()
}

fn run(program: &str, arguments: &[&str]) {
    let status = Command::new(program).args(arguments).status();
    assert!(status.is_ok_and(|status| status.success()), "{program} {arguments:?}");
}

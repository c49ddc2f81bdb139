//! Every input that was collected for fuzzing, and thousands of seeded mutations of them, held to each reader's law
//! (`tests/laws`). `make fuzz TARGET=sse` looks for more, guided by coverage.
#![allow(clippy::unwrap_used, clippy::panic)]

mod fixtures;
mod laws;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use tidegate::model::rng::SeededRng;

use self::laws::Law;

/// Mutations of one reader's inputs: all readers together take seconds.
const MUTATIONS: u64 = 2_000;

/// A mutation that got longer is cut.
const LONGEST: usize = 8 * 1024;

/// All inputs together, in a repository that people clone.
const LARGEST_CORPUS: u64 = 1 << 20;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus")
}

/// The inputs of a reader, in the order of their names.
fn inputs(name: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let mut paths: Vec<PathBuf> =
        std::fs::read_dir(folder().join(name)).unwrap().map(|file| file.unwrap().path()).collect();
    paths.sort();
    assert!(!paths.is_empty(), "{name} has no inputs");
    paths.into_iter().map(|path| (path.clone(), std::fs::read(path).unwrap())).collect()
}

/// Breaks with what is needed to repeat it.
fn hold(name: &str, law: Law, input: &[u8], what: &str) {
    if catch_unwind(AssertUnwindSafe(|| law(input))).is_err() {
        let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("broken-{name}"));
        std::fs::write(&kept, input).unwrap();
        panic!("{what} breaks the law of {name}; it is kept in {}: add it to fuzz/corpus/{name}/", kept.display());
    }
}

#[test]
fn every_collected_input_keeps_its_readers_law() {
    let mut size = 0;
    for (name, law) in laws::LAWS {
        for (path, input) in inputs(name) {
            size += input.len() as u64;
            hold(name, law, &input, &path.display().to_string());
        }
    }
    assert!(size <= LARGEST_CORPUS, "the corpus has grown to {size} bytes: minimise it (cargo fuzz cmin)");
}

#[test]
fn every_reader_is_in_the_list_and_has_a_target() {
    let mut folders: Vec<String> = std::fs::read_dir(folder())
        .unwrap()
        .map(|folder| folder.unwrap().file_name().to_str().unwrap().to_owned())
        .collect();
    folders.sort();
    let mut names: Vec<&str> = laws::LAWS.iter().map(|(name, _)| *name).collect();
    names.sort_unstable();
    assert_eq!(folders, names);
    for name in names {
        let target = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("fuzz/targets/{name}.rs"));
        assert!(target.exists(), "{}", target.display());
    }
}

#[test]
fn mutated_inputs_keep_their_readers_law() {
    for (name, law) in laws::LAWS {
        let inputs = inputs(name);
        for seed in 0..MUTATIONS {
            let mutated = mutate(&inputs, &SeededRng::new(seed));
            hold(name, law, &mutated, &format!("the mutation of seed {seed}"));
        }
    }
}

/// One of the inputs with a few changes, some of them pieces of another.
fn mutate(inputs: &[(PathBuf, Vec<u8>)], chance: &SeededRng) -> Vec<u8> {
    let below = |end: usize| usize::try_from(chance.bits() % (end as u64).max(1)).unwrap();
    let any = || &inputs[below(inputs.len())].1;
    let mut bytes = any().clone();
    for _ in 0..=below(6) {
        let (from, to) = (below(bytes.len() + 1), below(bytes.len() + 1));
        let range = from.min(to)..from.max(to);
        match below(7) {
            0 if !bytes.is_empty() => {
                let at = below(bytes.len());
                bytes[at] ^= 1 << below(8);
            }
            1 => drop(bytes.drain(range)),
            2 => {
                let piece = bytes[range].to_vec();
                bytes.splice(from..from, piece);
            }
            3 => {
                let other = any();
                let start = below(other.len() + 1);
                let piece = other[start..(start + below(64)).min(other.len())].to_vec();
                bytes.splice(from..from, piece);
            }
            4 => {
                let word = WORDS[below(WORDS.len())];
                bytes.splice(from..from, word.iter().copied());
            }
            5 => bytes.insert(from, below(256) as u8),
            _ => bytes.truncate(from.max(1)),
        }
        bytes.truncate(LONGEST);
    }
    bytes
}

/// What readers look for, and numbers at their edges.
const WORDS: [&[u8]; 24] = [
    b"\r\n",
    b"\n\n",
    b"\r\r",
    b"data: ",
    b"event: error\n",
    b"[DONE]",
    b"\0",
    b"\xef\xbb\xbf",
    b"\xed\xa0\x80",
    b"\\ud800",
    b"[[[[[[[[",
    b"{\"a\":{\"a\":",
    b"1e999",
    b"-0",
    b"18446744073709551616",
    b"null",
    b"--b\r\n",
    b"--b--",
    b"content-length: 5\r\n",
    b"transfer-encoding: chunked\r\n",
    b"\"",
    b"\x80\0\0\0\0\0\0\x01",
    b"\xff\xff\xff\xff",
    b"= \"5 min\"",
];

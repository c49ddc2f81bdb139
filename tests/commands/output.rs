//! Where the output of commands goes that ask no gateway: a disk that is full, and a reader that has gone.

use std::process::{Output, Stdio};

use crate::program::{BINARY, Folder};

/// With the exit code of success.
const COMMANDS: [&[&str]; 9] = [
    &["init"],
    &["init", "openai", "--output", "-"],
    &["schema"],
    &["reference"],
    &["reference", "metrics"],
    &["completions", "bash"],
    &["check"],
    &["check", "--against", "gateway.toml"],
    &["prompt", "list"],
];

async fn run_into(folder: &Folder, command: &[&str], out: impl Into<Stdio>) -> Output {
    let mut program = tokio::process::Command::new(BINARY);
    program.args(command).current_dir(folder.path_of("")).env_clear().stdin(Stdio::null());
    program.stdout(out).stderr(Stdio::piped()).kill_on_drop(true);
    program.spawn().unwrap().wait_with_output().await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_written_is_no_success_and_a_reader_that_has_gone_is_none_of_ours() {
    let folder = Folder::new("commands-output");
    folder.write("gateway.toml", "[server]\nport = 0\n");
    for command in COMMANDS {
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let output = run_into(&folder, command, full).await;
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{command:?}: {said}");
        assert!(said.contains("tidegate: cannot write the output: No space left on device"), "{command:?}: {said}");
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = run_into(&folder, command, writer).await;
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(matches!(output.status.code(), Some(0 | 2)) && !said.contains("pipe"), "{command:?}: {said}");
    }
}

//! Rows on a disk: files that are replaced, shared folders, disks that fail, queues that are full.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::digest::Digests;
use super::folder::TraceFolder;
use super::writer::FileRecorder;
use super::{Recorder, Recording};
use crate::config::plan::RecordPlan;
use crate::model::recorded::{RecordedCall, TraceHeader};
use crate::model::time::WallClock;

const START: &str = "2026-01-01T00:00:00Z";

/// An empty folder for one test, removed with it.
struct TestFolder(PathBuf);

impl TestFolder {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("tidegate-record-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        Self(folder)
    }

    /// The folder of traces in it.
    fn traces(&self) -> PathBuf {
        self.0.join("traces")
    }

    /// The traces, oldest first.
    fn files(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.traces()).into_iter().flatten();
        let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
        files.sort();
        files
    }
}

impl Drop for TestFolder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn plan(max_bytes: u64, max_files: usize, queue: usize) -> RecordPlan {
    RecordPlan { folder: None, secret: None, max_bytes, max_files, queue }
}

/// A moment, in seconds after the start.
fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(START.parse::<Timestamp>().unwrap().as_second() + seconds).unwrap()
}

fn row(number: u64) -> RecordedCall {
    RecordedCall { route: "chat".into(), user: Some("canary".into()), bytes_in: number, ..RecordedCall::default() }
}

/// The first line of a file, and the numbers of its rows.
fn read(file: &Path) -> (TraceHeader, Vec<u64>) {
    let text = fs::read_to_string(file).unwrap();
    assert!(text.ends_with('\n') && !text.contains("canary"), "{text}");
    let (header, rows) = text.split_once('\n').unwrap();
    let rows = rows.lines().map(|line| serde_json::from_str::<RecordedCall>(line).unwrap().bytes_in);
    (serde_json::from_str(header).unwrap(), rows.collect())
}

/// A recorder into a folder, whose task runs until the token is cancelled.
fn recorder(folder: &Path, plan: &RecordPlan, recording: &Recording) -> (FileRecorder, TaskTracker, CancellationToken) {
    let clock = WallClock::of_tokio(at(0));
    let (recorder, writer) = FileRecorder::new(folder, plan, Digests::new("secret"), recording, clock);
    let (tasks, over) = (TaskTracker::new(), CancellationToken::new());
    tasks.spawn(writer.run(over.clone()));
    tasks.close();
    (recorder, tasks, over)
}

/// How many rows were written, dropped, unwritable and too late.
fn counts(recording: &Recording) -> [u64; 4] {
    let counts = recording.counts();
    [&counts.written, &counts.queue_full, &counts.unwritable, &counts.shutdown]
        .map(|count| count.load(std::sync::atomic::Ordering::Relaxed))
}

#[tokio::test(start_paused = true)]
async fn rows_are_in_the_file_a_moment_later_and_the_last_ones_at_the_end() {
    let (folder, recording) = (TestFolder::new("moment"), Recording::default());
    let (recorder, tasks, over) = recorder(&folder.traces(), &plan(1 << 20, 2, 100), &recording);
    (0..3).for_each(|number| recorder.note(row(number)));
    sleep(Duration::from_millis(200)).await;
    let files = folder.files();
    assert_eq!((files.len(), &*read(&files[0]).1), (1, &[0, 1, 2][..]));
    assert_eq!(fs::metadata(&files[0]).unwrap().permissions().mode() & 0o777, 0o600, "only its owner reads it");
    assert_eq!(fs::metadata(folder.traces()).unwrap().permissions().mode() & 0o777, 0o700);
    (3..9).for_each(|number| recorder.note(row(number)));
    over.cancel();
    tasks.wait().await;
    recorder.note(row(9));
    let (header, rows) = read(&files[0]);
    assert_eq!((rows.len(), counts(&recording)), (9, [9, 0, 0, 1]));
    assert_eq!((header.trace, header.start), (TraceHeader::FORMAT, at(0) + Duration::from_millis(100)));
    assert_eq!(header.secret, Digests::new("secret").mark());
}

#[tokio::test(start_paused = true)]
async fn the_task_ends_with_the_last_who_could_note_a_row() {
    let (folder, recording) = (TestFolder::new("last"), Recording::default());
    let (recorder, tasks, _over) = recorder(&folder.traces(), &plan(1 << 20, 2, 100), &recording);
    let recorder: Arc<dyn Recorder> = Arc::new(recorder);
    recording.set(Some(recorder.clone()));
    recorder.note(row(1));
    recording.set(None);
    assert!(recording.recorder().is_none());
    drop(recorder);
    tasks.wait().await;
    assert_eq!(read(&folder.files()[0]).1, [1]);
}

#[tokio::test(start_paused = true)]
async fn what_finds_the_queue_full_is_counted_and_lost_and_waits_for_nobody() {
    let (folder, recording) = (TestFolder::new("full"), Recording::default());
    let (recorder, tasks, over) = recorder(&folder.traces(), &plan(1 << 20, 2, 2), &recording);
    (0..5).for_each(|number| recorder.note(row(number)));
    sleep(Duration::from_secs(1)).await;
    (5..7).for_each(|number| recorder.note(row(number)));
    over.cancel();
    tasks.wait().await;
    assert_eq!((counts(&recording), read(&folder.files()[0]).1), ([4, 3, 0, 0], vec![0, 1, 5, 6]));
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_written_is_counted_and_what_can_again_is_written() {
    let (folder, recording) = (TestFolder::new("unwritable"), Recording::default());
    // A file stands where the folder should be.
    fs::write(folder.traces(), "").unwrap();
    let (recorder, tasks, over) = recorder(&folder.traces(), &plan(1 << 20, 2, 100), &recording);
    for number in 0..3 {
        recorder.note(row(number));
        sleep(Duration::from_secs(1)).await;
    }
    assert_eq!(counts(&recording), [0, 0, 3, 0]);
    fs::remove_file(folder.traces()).unwrap();
    recorder.note(row(3));
    over.cancel();
    tasks.wait().await;
    assert_eq!((counts(&recording), read(&folder.files()[0]).1), ([1, 0, 3, 0], vec![3]));
}

/// Lines with these numbers.
fn lines(numbers: std::ops::Range<u64>) -> Vec<u8> {
    let lines = numbers.map(|number| {
        let row = RecordedCall { bytes_in: number, ..RecordedCall::default() };
        serde_json::to_string(&row).unwrap() + "\n"
    });
    lines.collect::<String>().into_bytes()
}

#[test]
fn a_full_file_is_followed_by_a_new_one_and_the_oldest_are_removed() {
    let folder = TestFolder::new("rotation");
    let mut traces = TraceFolder::new(&folder.traces(), &plan(700, 3, 1), "mark".into());
    for second in 0..20 {
        let number = second as u64;
        traces.append(&lines(number..number + 1), at(second)).unwrap();
    }
    let files = folder.files();
    assert_eq!(files.len(), 3);
    assert!(files.iter().all(|file| fs::metadata(file).unwrap().len() <= 700));
    let rows: Vec<u64> = files.iter().flat_map(|file| read(file).1).collect();
    assert_eq!(rows, (rows[0]..20).collect::<Vec<_>>(), "the newest are there, without a gap");
    // A batch that is larger than a file is one.
    traces.append(&lines(20..60), at(20)).unwrap();
    assert_eq!(read(folder.files().last().unwrap()).1.len(), 40);
}

#[test]
fn what_another_process_writes_is_not_removed_and_what_is_no_trace_neither() {
    let folder = TestFolder::new("shared");
    let names =
        ["trace-20250101T000000.000Z-1.jsonl", "trace-20250102T000000.000Z-1.jsonl", "notes.jsonl", "trace-a.csv"];
    fs::create_dir_all(folder.traces()).unwrap();
    names.iter().for_each(|name| fs::write(folder.traces().join(name), "{}\n").unwrap());
    let written = File::open(folder.traces().join(names[0])).unwrap();
    written.lock().unwrap();
    let mut traces = TraceFolder::new(&folder.traces(), &plan(1 << 20, 1, 1), "mark".into());
    traces.append(&lines(0..1), at(0)).unwrap();
    let there = |name: &str| folder.traces().join(name).exists();
    assert_eq!(names.map(there), [true, false, true, true]);
    // The same millisecond, as in two containers: another file.
    let mut other = TraceFolder::new(&folder.traces(), &plan(1 << 20, 9, 1), "mark".into());
    other.append(&lines(1..2), at(0)).unwrap();
    assert_eq!(folder.files().len(), 5);
}

#[test]
fn a_file_that_was_removed_or_replaced_is_begun_anew() {
    let folder = TestFolder::new("gone");
    let mut traces = TraceFolder::new(&folder.traces(), &plan(1 << 20, 9, 1), "mark".into());
    traces.append(&lines(0..1), at(0)).unwrap();
    fs::remove_dir_all(folder.traces()).unwrap();
    traces.append(&lines(1..2), at(1)).unwrap();
    let file = folder.files().pop().unwrap();
    assert_eq!(read(&file).1, [1]);
    fs::remove_file(&file).unwrap();
    fs::write(&file, "another's\n").unwrap();
    traces.append(&lines(2..3), at(2)).unwrap();
    assert_eq!((folder.files().len(), read(folder.files().last().unwrap()).1), (2, vec![2]));
}

//! Last: the end of a recorded trace: which of its files hold calls of the last hour, say, and when that began.
//!
//! Of each file it reads the end only: rows are in the order in which calls ended. It does not know what becomes of the calls.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::lines::{LONGEST, TraceFault};
use crate::model::recorded::RecordedCall;

/// The end of a trace. What is written after it was looked up is not in it: all who read it read the same.
#[derive(Clone, Debug)]
pub struct Last {
    /// The files that hold it.
    pub(super) files: Vec<PathBuf>,
    /// Its beginning and its end; `None` where no file ends with a call.
    span: Option<(Timestamp, Timestamp)>,
}

impl Last {
    /// The last `length` of the trace in these files: until the end of the call that ended last. Files that end before it are
    /// left out.
    pub(super) fn of(files: Vec<PathBuf>, length: Duration) -> Result<Self, TraceFault> {
        let ends: Vec<_> = files.iter().map(|path| end(path)).collect::<Result<_, _>>()?;
        let Some(latest) = ends.iter().flatten().max().copied() else { return Ok(Self { files, span: None }) };
        let length = SignedDuration::try_from(length).unwrap_or(SignedDuration::MAX);
        let begin = latest.checked_sub(length).unwrap_or(Timestamp::MIN);
        // Where a file does not say it, its lines do.
        let is_late = |end: &Option<Timestamp>| end.is_none_or(|end| end >= begin);
        let kept = files.into_iter().zip(&ends).filter(|(_, end)| is_late(end)).map(|(path, _)| path).collect();
        Ok(Self { files: kept, span: Some((begin, latest)) })
    }

    /// True for a call that is in it.
    pub(super) fn has(&self, call: &RecordedCall) -> bool {
        self.span.is_none_or(|(begin, latest)| call.at >= begin && ended(call) <= latest)
    }
}

/// When the last call of a file ended.
fn end(path: &Path) -> Result<Option<Timestamp>, TraceFault> {
    let read = || {
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(LONGEST)))?;
        let mut tail = Vec::new();
        file.take(LONGEST).read_to_end(&mut tail)?;
        Ok(tail)
    };
    let tail = read().map_err(|error: std::io::Error| TraceFault::Unreadable(path.into(), error.to_string()))?;
    // The line that is being written, and the one that was cut, are no rows.
    let row = tail.rsplit(|byte| *byte == b'\n').find_map(|line| serde_json::from_slice::<RecordedCall>(line).ok());
    Ok(row.as_ref().map(ended))
}

fn ended(call: &RecordedCall) -> Timestamp {
    let took = SignedDuration::from_millis(i64::try_from(call.took_ms).unwrap_or(i64::MAX));
    call.at.checked_add(took).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::fmt::Write;
    use std::sync::Arc;

    use super::super::spread::Spread;
    use super::super::{Source, Terms};
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    /// A folder with these files, removed in the end.
    struct Folder(PathBuf);

    impl Folder {
        fn of(test: &str, files: &[(&str, String)]) -> Self {
            let folder = Self(std::env::temp_dir().join(format!("tidegate-last-{test}-{}", std::process::id())));
            std::fs::create_dir_all(&folder.0).unwrap();
            files.iter().for_each(|(name, text)| std::fs::write(folder.0.join(name), text).unwrap());
            folder
        }

        fn source(&self) -> Source {
            Source::last(std::slice::from_ref(&self.0), HOUR).unwrap()
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    /// Calls that came at these minutes of a morning, and took as many minutes.
    fn rows(calls: &[(u32, u64)]) -> String {
        calls.iter().fold(String::new(), |mut text, (minute, took)| {
            let at: Timestamp = format!("2026-03-02T{:02}:{:02}:00Z", minute / 60, minute % 60).parse().unwrap();
            let call = RecordedCall { at, route: "chat".into(), took_ms: took * 60_000, ..RecordedCall::default() };
            writeln!(text, "{}", serde_json::to_string(&call).unwrap()).unwrap();
            text
        })
    }

    fn terms() -> Terms {
        Terms { spread: Spread::default(), names: Arc::default(), is_strict: true, seed: 1 }
    }

    fn minutes(folder: &Folder) -> Vec<i64> {
        let recorded = folder.source().recorded(&terms()).unwrap().unwrap();
        let midnight: Timestamp = "2026-03-02T00:00:00Z".parse().unwrap();
        let minute = |call: RecordedCall| call.at.duration_since(midnight).as_mins();
        recorded.map(|call| minute(call.unwrap())).collect()
    }

    #[test]
    fn the_last_hour_is_the_one_before_the_end_of_the_last_call() {
        let files = [("a", rows(&[(100, 1), (190, 1), (200, 0)])), ("b", rows(&[(201, 0), (230, 0), (239, 11)]))];
        let folder = Folder::of("end", &files);
        assert_eq!(minutes(&folder), [190, 200, 201, 230, 239]);
        let trace = folder.source().open(&terms()).unwrap();
        assert_eq!(trace.start, Some("2026-03-02T03:10:00Z".parse().unwrap()));
        assert_eq!(trace.map(Result::unwrap).last().unwrap().after, Duration::from_secs(49 * 60));
    }

    #[test]
    fn files_that_end_before_it_are_not_read() {
        // It is not in the order of names: another process wrote the last file, and died hours ago.
        let broken = format!("no row\n{}", rows(&[(10, 0)]));
        let files = [("a", broken.clone()), ("b", rows(&[(300, 0)])), ("c", broken)];
        assert_eq!(minutes(&Folder::of("files", &files)), [300]);
    }

    #[test]
    fn who_reads_it_again_reads_the_same() {
        let folder = Folder::of("again", &[("a", rows(&[(200, 0), (210, 0)]))]);
        let source = folder.source();
        std::fs::write(folder.0.join("a"), rows(&[(200, 0), (210, 0), (211, 0)])).unwrap();
        let calls = source.recorded(&terms()).unwrap().unwrap().count();
        assert_eq!((calls, source.open(&terms()).unwrap().count()), (2, 2));
        assert_eq!(minutes(&folder), [200, 210, 211], "who comes later");
    }

    #[test]
    fn a_line_that_is_being_written_does_not_hide_the_end() {
        let half = format!("{}{{\"at\":\"2026-03-02T09", rows(&[(10, 0), (200, 0)]));
        let folder = Folder::of("half", &[("a", half)]);
        let terms = Terms { is_strict: false, ..terms() };
        let trace = folder.source().open(&terms).unwrap();
        let skipped = trace.skipped.clone();
        assert_eq!((trace.count(), skipped.count()), (1, 1));
    }

    #[test]
    fn a_trace_without_calls_and_one_of_timestamps_are_told() {
        let told = |test, text: &str| {
            let folder = Folder::of(test, &[("a", text.to_owned())]);
            let source = Source::last(std::slice::from_ref(&folder.0), HOUR);
            source.and_then(|source| source.open(&terms())).err().map(|fault| fault.to_string()).unwrap_or_default()
        };
        let header = "{\"trace\":1,\"version\":\"0\",\"start\":\"2026-03-02T00:00:00Z\",\"secret\":\"s\"}\n";
        assert!(told("header", header).contains("is empty"), "{}", told("header", header));
        let csv = told("csv", "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:17:03.98,1,2\n");
        assert!(csv.contains("--last needs a trace that `[record]` wrote"), "{csv}");
    }
}

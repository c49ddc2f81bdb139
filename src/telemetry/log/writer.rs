//! Log writer: takes whole lines from any thread, and has one thread write them, many at a time where many come.
//!
//! Lines wait in one buffer of bounded size. A line for which there is no room is dropped and counted, because a full disk
//! must not block a response. It does not know what a line says.

use std::io::{self, Write};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use tracing_subscriber::fmt::MakeWriter;

/// How many lines may wait to be written, and how many bytes of them.
const LINES: usize = 16 * 1024;
const BYTES: usize = 16 << 20;

/// How long lines gather after others were written. A line that comes after a longer silence is written at once.
const GATHER: Duration = Duration::from_millis(5);

/// As many bytes are written without gathering more.
const BATCH: usize = 32 * 1024;

/// A buffer that has become larger than this in a burst is given back.
const KEPT: usize = 256 * 1024;

/// How long the end of the process waits for the last lines: whoever reads them may have stopped reading.
const LAST_LINES: Duration = Duration::from_secs(1);

/// Where lines are handed over. Cheap to clone.
#[derive(Clone)]
pub(super) struct LogWriter(Arc<Shared>);

struct Shared {
    queue: Mutex<Queue>,
    /// Wakes the thread that writes.
    work: Condvar,
    /// Wakes whoever waits for that thread's end.
    end: Condvar,
}

#[derive(Default)]
struct Queue {
    text: Vec<u8>,
    lines: usize,
    dropped: u64,
    thread: Thread,
    /// No more lines are waited for.
    is_over: bool,
}

/// What the thread is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Thread {
    /// It writes, or is about to look.
    #[default]
    Busy,
    /// It waits for a line.
    Idle,
    /// It lets lines gather.
    Gathering,
    /// It has ended.
    Over,
}

/// Has the lines written that are left when it is dropped.
pub(super) struct LastLines(Arc<Shared>);

impl LogWriter {
    /// Begins to write to `out`.
    pub(super) fn start(out: impl Write + Send + 'static) -> io::Result<(Self, LastLines)> {
        let queue = Mutex::new(Queue { text: Vec::with_capacity(BATCH), ..Queue::default() });
        let shared = Arc::new(Shared { queue, work: Condvar::new(), end: Condvar::new() });
        let own = shared.clone();
        thread::Builder::new().name("log".into()).spawn(move || own.run(out))?;
        Ok((Self(shared.clone()), LastLines(shared)))
    }

    /// Hands over a whole line, or several.
    pub(super) fn push(&self, line: &[u8]) {
        let mut queue = self.0.queue.lock();
        if queue.lines >= LINES || queue.text.len().saturating_add(line.len()) > BYTES {
            queue.dropped += 1;
            return;
        }
        queue.text.extend_from_slice(line);
        queue.lines += 1;
        let is_waited_for = match queue.thread {
            Thread::Idle => true,
            Thread::Gathering => queue.text.len() >= BATCH,
            Thread::Busy | Thread::Over => false,
        };
        if is_waited_for {
            // Once: others need not wake it too.
            queue.thread = Thread::Busy;
            drop(queue);
            self.0.work.notify_one();
        }
    }

    /// How many lines were dropped since the last time.
    pub(super) fn take_dropped(&self) -> u64 {
        std::mem::take(&mut self.0.queue.lock().dropped)
    }
}

impl Shared {
    fn run(&self, mut out: impl Write) {
        let mut text = Vec::with_capacity(BATCH);
        loop {
            let mut queue = self.queue.lock();
            while queue.lines == 0 && !queue.is_over {
                queue.thread = Thread::Idle;
                self.work.wait(&mut queue);
            }
            queue.thread = Thread::Busy;
            if queue.lines == 0 {
                queue.thread = Thread::Over;
                drop(queue);
                self.end.notify_all();
                return;
            }
            std::mem::swap(&mut queue.text, &mut text);
            queue.lines = 0;
            drop(queue);
            let lost = write(&mut out, &text);
            text.clear();
            text.shrink_to(KEPT);
            let mut queue = self.queue.lock();
            queue.dropped += lost;
            if queue.text.len() < BATCH && !queue.is_over {
                queue.thread = Thread::Gathering;
                // Whether it was woken or not, it looks.
                let _ = self.work.wait_for(&mut queue, GATHER);
            }
            queue.thread = Thread::Busy;
        }
    }
}

/// Writes lines, and says how many of them were lost: on a full disk none can be written, and the next ones may.
fn write(out: &mut impl Write, mut text: &[u8]) -> u64 {
    while !text.is_empty() {
        match out.write(text) {
            Ok(count) if count > 0 => text = text.get(count..).unwrap_or_default(),
            Err(fault) if fault.kind() == io::ErrorKind::Interrupted => {}
            _ => break,
        }
    }
    let lost = memchr::memchr_iter(b'\n', text).count() as u64;
    // What it could not pass on either is lost with them.
    let _ = out.flush();
    lost
}

impl Drop for LastLines {
    fn drop(&mut self) {
        let mut queue = self.0.queue.lock();
        queue.is_over = true;
        self.0.work.notify_one();
        if queue.thread != Thread::Over {
            self.0.end.wait_while_for(&mut queue, |queue| queue.thread != Thread::Over, LAST_LINES);
        }
    }
}

impl Write for LogWriter {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.push(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for LogWriter {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    /// Says what it writes, and goes on when it is told how many bytes it may take; `None`: it fails.
    struct Slow {
        said: mpsc::Sender<usize>,
        may: mpsc::Receiver<Option<usize>>,
        written: Arc<Mutex<Vec<u8>>>,
    }

    impl Write for Slow {
        fn write(&mut self, text: &[u8]) -> io::Result<usize> {
            let _ = self.said.send(text.len());
            let most = self.may.recv().ok().flatten().ok_or(io::ErrorKind::StorageFull)?;
            let count = most.min(text.len());
            self.written.lock().extend_from_slice(&text[..count]);
            Ok(count)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    struct Log {
        writer: LogWriter,
        last: LastLines,
        said: mpsc::Receiver<usize>,
        may: mpsc::Sender<Option<usize>>,
        written: Arc<Mutex<Vec<u8>>>,
    }

    fn log() -> Log {
        let (say, said) = mpsc::channel();
        let (may, wait) = mpsc::channel();
        let written = Arc::new(Mutex::new(Vec::new()));
        let (writer, last) = LogWriter::start(Slow { said: say, may: wait, written: written.clone() }).unwrap();
        Log { writer, last, said, may, written }
    }

    #[test]
    fn lines_that_come_while_others_are_written_are_written_together() {
        let log = log();
        log.writer.push(b"one\n");
        assert_eq!(log.said.recv(), Ok(4));
        for line in ["two\n", "three\n", "four\n"] {
            log.writer.push(line.as_bytes());
        }
        log.may.send(Some(100)).unwrap();
        assert_eq!(log.said.recv(), Ok(15));
        // A part of it, and then the rest.
        log.may.send(Some(5)).unwrap();
        assert_eq!(log.said.recv(), Ok(10));
        log.may.send(Some(100)).unwrap();
        drop(log.last);
        assert_eq!((&log.written.lock()[..], log.writer.take_dropped()), (&b"one\ntwo\nthree\nfour\n"[..], 0));
    }

    #[test]
    fn the_last_lines_are_written_before_the_end() {
        let log = log();
        log.may.send(Some(usize::MAX)).unwrap();
        log.may.send(Some(usize::MAX)).unwrap();
        log.writer.push(b"one\n");
        assert_eq!(log.said.recv(), Ok(4));
        log.writer.push(b"two\n");
        drop(log.last);
        assert_eq!(&log.written.lock()[..], b"one\ntwo\n");
    }

    #[test]
    fn what_cannot_be_written_is_counted_and_the_next_lines_are_written() {
        let log = log();
        log.writer.push(b"one\n");
        assert_eq!(log.said.recv(), Ok(4));
        log.writer.push(b"two\n");
        log.writer.push(b"three\n");
        log.may.send(None).unwrap();
        assert_eq!(log.said.recv(), Ok(10));
        log.writer.push(b"four\n");
        log.may.send(Some(4)).unwrap();
        assert_eq!(log.said.recv(), Ok(6));
        log.may.send(None).unwrap();
        assert_eq!(log.said.recv(), Ok(5));
        log.may.send(Some(5)).unwrap();
        drop(log.last);
        assert_eq!((&log.written.lock()[..], log.writer.take_dropped()), (&b"two\nfour\n"[..], 2));
    }

    #[test]
    fn who_cannot_write_fills_no_memory() {
        let log = log();
        log.writer.push(b"one\n");
        assert_eq!(log.said.recv(), Ok(4));
        (0..LINES + 7).for_each(|_| log.writer.push(b"more\n"));
        assert_eq!(log.writer.take_dropped(), 7);
        log.may.send(None).unwrap();
        assert_eq!(log.said.recv(), Ok(5 * LINES));
        let large = vec![b'x'; BYTES / 2 + 1];
        log.writer.push(&large);
        log.writer.push(&large);
        log.may.send(Some(usize::MAX)).unwrap();
        assert_eq!(log.said.recv(), Ok(large.len()));
        log.may.send(Some(usize::MAX)).unwrap();
        drop(log.last);
        assert_eq!(log.writer.take_dropped(), 1 + 1);
    }
}

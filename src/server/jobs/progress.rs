//! Progress: how far an attempt is, as its worker tells those who watch the job.
//!
//! It does not know who watches, nor how often they are told.

use parking_lot::Mutex;

/// Tokens of an answer that nobody has bounded, about.
const USUAL: u32 = 1000;

/// No more than this is told before the answer is complete.
const ALMOST: u8 = 99;

/// What has come of an answer so far.
#[derive(Default)]
pub(super) struct Progress(Mutex<Parts>);

#[derive(Default)]
struct Parts {
    text: String,
    pieces: u64,
    expected: u64,
}

impl Progress {
    /// An answer of this many tokens at most is asked for.
    pub(super) fn expect(&self, tokens: Option<u32>) {
        self.0.lock().expected = tokens.unwrap_or(USUAL).max(1).into();
    }

    /// The next piece has come; how many bytes of text there are now.
    pub(super) fn add(&self, piece: &str) -> usize {
        let mut parts = self.0.lock();
        parts.text.push_str(piece);
        parts.pieces += 1;
        parts.text.len()
    }

    /// Takes the text, which is complete.
    pub(super) fn take(&self) -> String {
        std::mem::take(&mut self.0.lock().text)
    }

    /// Percent of the answer that is there: most providers send one token in each piece.
    pub(super) fn percent(&self) -> u8 {
        let parts = self.0.lock();
        let percent = parts.pieces.saturating_mul(100).checked_div(parts.expected).unwrap_or_default();
        u8::try_from(percent).unwrap_or(ALMOST).min(ALMOST)
    }

    /// The text so far, if there is more of it than `known` bytes.
    pub(super) fn text_beyond(&self, known: usize) -> Option<String> {
        let parts = self.0.lock();
        (parts.text.len() > known).then(|| parts.text.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_never_done_before_the_end() {
        let progress = Progress::default();
        assert_eq!(progress.percent(), 0);
        progress.expect(Some(4));
        progress.add("a");
        assert_eq!((progress.percent(), progress.text_beyond(0).as_deref()), (25, Some("a")));
        assert_eq!(progress.text_beyond(1), None);
        (0..9).for_each(|_| assert!(progress.add("b") > 1));
        assert_eq!((progress.percent(), progress.take().len()), (99, 10));
    }
}

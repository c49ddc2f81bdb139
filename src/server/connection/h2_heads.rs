//! HTTP/2 headers: detects, from the bytes of a connection, whether the headers of a request have begun and not
//! ended, for the header timeout.
//!
//! It counts frames (RFC 9113, 4.1) and understands nothing else of them: protocol errors are for hyper to report.

/// What a caller sends before its first frame (RFC 9113, 3.4).
const PREFACE: usize = 24;

const FRAME_HEADER: usize = 9;
const HEADERS: u8 = 1;
const CONTINUATION: u8 = 9;
const END_HEADERS: u8 = 4;

/// Where a connection's bytes are in their frames.
pub(in crate::server) struct Heads {
    header: [u8; FRAME_HEADER],
    /// How much of the next frame's header has come.
    filled: usize,
    /// How much of the frame, or of the preface, is still to come.
    rest: usize,
    begun: u64,
    is_open: bool,
    /// The frame that is on its way is the last one of its head.
    is_last: bool,
}

impl Default for Heads {
    fn default() -> Self {
        Self { header: [0; FRAME_HEADER], filled: 0, rest: PREFACE, begun: 0, is_open: false, is_last: false }
    }
}

impl Heads {
    /// Looks at what has come; returns the number of the head that is on its way.
    pub(in crate::server) fn accept(&mut self, mut bytes: &[u8]) -> Option<u64> {
        loop {
            let skipped = self.rest.min(bytes.len());
            self.rest -= skipped;
            bytes = &bytes[skipped..];
            if self.rest == 0 && self.is_last {
                (self.is_open, self.is_last) = (false, false);
            }
            if bytes.is_empty() {
                return self.is_open.then_some(self.begun);
            }
            let count = bytes.len().min(FRAME_HEADER - self.filled);
            self.header[self.filled..self.filled + count].copy_from_slice(&bytes[..count]);
            self.filled += count;
            bytes = &bytes[count..];
            if self.filled == FRAME_HEADER {
                self.begin_frame();
            }
        }
    }

    fn begin_frame(&mut self) {
        let [high, middle, low, kind, flags, ..] = self.header;
        self.filled = 0;
        self.rest = u32::from_be_bytes([0, high, middle, low]) as usize;
        if kind == HEADERS {
            self.begun += 1;
            self.is_open = true;
        }
        if matches!(kind, HEADERS | CONTINUATION) {
            self.is_last = flags & END_HEADERS != 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, payload: usize) -> Vec<u8> {
        let mut frame = vec![0, 0, payload as u8, kind, flags, 0, 0, 0, 1];
        frame.resize(FRAME_HEADER + payload, END_HEADERS);
        frame
    }

    /// What is on its way after each of these steps, in pieces of this size.
    fn seen(steps: &[Vec<u8>], size: usize) -> Vec<Option<u64>> {
        let mut heads = Heads::default();
        heads.accept(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
        let piece = |heads: &mut Heads, step: &[u8]| step.chunks(size).map(|piece| heads.accept(piece)).last();
        steps.iter().map(|step| piece(&mut heads, step).expect("a step has bytes")).collect()
    }

    #[test]
    fn a_head_is_on_its_way_until_its_last_frame_has_come_whole_however_it_is_cut() {
        const SETTINGS: u8 = 4;
        let whole = frame(HEADERS, END_HEADERS, 20);
        let steps = [
            frame(SETTINGS, 0, 6),
            frame(HEADERS, 0, 20),
            frame(CONTINUATION, 0, 0),
            frame(CONTINUATION, END_HEADERS, 0),
            whole.clone(),
            whole[..12].to_vec(),
            whole[12..].to_vec(),
            [whole.clone(), frame(HEADERS, 0, 3)].concat(),
        ];
        let expected = [None, Some(1), Some(1), None, None, Some(3), None, Some(5)];
        for size in [1, 2, 9, 10, 1000] {
            assert_eq!(seen(&steps, size), expected, "in pieces of {size}");
        }
    }

    #[test]
    fn the_preface_is_no_frame() {
        let mut heads = Heads::default();
        for byte in b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" {
            assert_eq!(heads.accept(&[*byte]), None);
        }
        assert_eq!(heads.accept(&frame(HEADERS, 0, 0)), Some(1));
    }
}

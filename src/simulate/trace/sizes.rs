//! Sizes: one question has one size. The same prompt is as long each time, so that the request is the same, as a cache compares it;
//! rows of one question differ in what was counted, and lengths that are made up differ by the call.
//!
//! Its memory is bounded: a question gives way to another one with the same place in the table.

use crate::simulate::arrival::Arrival;

/// Places. A question that comes again after more others than that is fetched once more.
const PLACES: usize = 1 << 16;

/// A question, and how large it was when it came first.
#[derive(Clone, Copy, Default)]
struct Size {
    question: u64,
    tokens_in: u64,
    tokens_out: u64,
    bytes_in: u64,
    is_taken: bool,
}

/// The sizes of the questions that came lately.
pub(super) struct Sizes(Box<[Size]>);

impl Sizes {
    pub(super) fn new() -> Self {
        Self(vec![Size::default(); PLACES].into())
    }

    /// The call, as large as the one before it that asked the same.
    pub(super) fn of(&mut self, arrival: Arrival) -> Arrival {
        let question = arrival.question;
        // The number may be small, or a hash.
        let place = (question.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40) as usize % PLACES;
        let Some(size) = self.0.get_mut(place) else { return arrival };
        if !size.is_taken || size.question != question {
            let Arrival { tokens_in, tokens_out, bytes_in, .. } = arrival;
            *size = Size { question, tokens_in, tokens_out, bytes_in, is_taken: true };
        }
        Arrival { tokens_in: size.tokens_in, tokens_out: size.tokens_out, bytes_in: size.bytes_in, ..arrival }
    }
}

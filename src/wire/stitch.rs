//! Stitch: the events of an answer that goes on in the place of one that broke, written as if they came from that one.
//!
//! It does not know who goes on, nor when, nor how any dialect spells events.

use std::collections::VecDeque;

use crate::model::reply::{Channel, Event};

/// What the caller of one stream was told, and how another answer has to be told to go on with that.
pub trait Stitch: Send {
    /// Learns from an event of the first answer, which its caller gets as it is.
    fn note(&mut self, event: &Event);

    /// Another answer begins: the same from its beginning, or one that goes on behind the text `said`.
    fn begin(&mut self, said: &str) {
        let _ = said;
    }

    /// An event of the other answer with nothing in it that the caller does not have, as far as texts go.
    fn skip(&mut self, event: Event) {
        drop(event);
    }

    /// An event of the other answer with just this text in a channel, instead of its own.
    fn cut(&self, event: Event, text: (Option<Channel>, &str)) -> Event;

    /// An event of the other answer: those that the caller gets. `texts_before` is the number of texts that it had before a provider
    /// was asked to go on from them.
    fn pass(&mut self, event: Event, texts_before: u64, events: &mut VecDeque<Event>);

    /// True for an event without text that only says who speaks, and is not wanted where somebody goes on.
    fn is_opening(&self, event: &Event) -> bool;

    /// True for an event that says why the answer ends here.
    fn is_finish(&self, event: &Event) -> bool;
}

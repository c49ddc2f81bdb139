//! Units: what a call used besides tokens, where providers charge for that: images, sound, text to be spoken, requests.
//!
//! It does not know what a unit costs.

/// Units of a call. Numbers stop at their largest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Units {
    /// Times that a provider was asked.
    pub requests: u32,
    /// Images that were made.
    pub images: u32,
    /// Length of a recording that was heard, in milliseconds.
    pub milliseconds: u32,
    /// Characters of a text that was spoken.
    pub characters: u32,
}

impl Units {
    /// True when there is more than a request.
    pub fn has_media(self) -> bool {
        self.images > 0 || self.milliseconds > 0 || self.characters > 0
    }

    /// The units of both.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            requests: self.requests.saturating_add(other.requests),
            images: self.images.saturating_add(other.images),
            milliseconds: self.milliseconds.saturating_add(other.milliseconds),
            characters: self.characters.saturating_add(other.characters),
        }
    }

    /// What a provider said, and of what it said nothing the estimate.
    #[must_use]
    pub fn or(self, estimate: Self) -> Self {
        let or = |said: u32, estimate: u32| if said == 0 { estimate } else { said };
        Self {
            requests: or(self.requests, estimate.requests),
            images: or(self.images, estimate.images),
            milliseconds: or(self.milliseconds, estimate.milliseconds),
            characters: or(self.characters, estimate.characters),
        }
    }
}

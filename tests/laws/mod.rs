//! Laws of everything that reads what others wrote: one function for each reader, which panics where a law is broken.
//!
//! `tests/corpus.rs` holds them over the collected inputs and seeded mutations of them; the fuzz targets under `fuzz/` look for
//! inputs that break them. They know no expected answer: the golden files do.
#![allow(dead_code, clippy::unwrap_used, clippy::panic)]

mod cut;
mod dialects;
mod documents;
mod translated;

/// A law of one reader: it panics where the bytes break it.
pub(crate) type Law = fn(&[u8]);

/// Every reader's law, by the name of its folder under `fuzz/corpus/`.
pub(crate) const LAWS: [(&str, Law); 16] = [
    ("sse", cut::sse),
    ("framing", cut::framing),
    ("response", cut::response),
    ("upload", dialects::upload),
    ("caller", dialects::caller),
    ("jobs", dialects::jobs),
    ("provider", dialects::provider),
    ("stream", dialects::stream),
    ("translation", translated::translation),
    ("json", dialects::json),
    ("config", documents::config),
    ("entry", documents::entry),
    ("extract", documents::extract),
    ("schema", documents::schema),
    ("world", documents::world),
    ("goals", documents::goals),
];

/// The law of this name.
pub(crate) fn law(name: &str) -> Law {
    LAWS.iter().find(|(other, _)| *other == name).map(|(_, law)| *law).unwrap()
}

/// The first byte chooses; the rest is the input. Nothing is left when there is nothing.
fn choose(data: &[u8]) -> (usize, &[u8]) {
    data.split_first().map_or((0, data), |(first, rest)| (usize::from(*first), rest))
}

//! Proofs of thoughts, in the place that another API than their provider's has for its own: `signature` in Messages,
//! `encrypted_content` in Responses. A caller sends them back with the next request, and a provider refuses what it has not signed.
//!
//! So each bears a mark there, and so does the place of a thought that nobody signed. It does not know how any proof is made.

use std::borrow::Cow;

use crate::model::conversation::{Api, Proof};

/// How a proof begins that stands in another API's place; alone it stands for none.
pub(crate) const MARK: &str = "translated-by-tidegate:";

/// The proof of a thought, or none, as it stands in another API's place.
pub(crate) fn marked(proof: Option<&str>) -> String {
    [MARK, proof.map(bare).unwrap_or_default()].concat()
}

/// A proof without the mark, where it has one; nothing where there is none.
pub(crate) fn bare(said: &str) -> &str {
    said.strip_prefix(MARK).unwrap_or(said)
}

/// What stands in a place of the API `own`, whose marked proofs are of the API `other`.
pub(crate) fn read(said: Cow<'_, str>, own: Api, other: Api) -> Option<Proof> {
    let api = if said.starts_with(MARK) { other } else { own };
    let data = if api == own { said.into_owned() } else { bare(&said).to_owned() };
    (!data.is_empty()).then_some(Proof { api, data })
}

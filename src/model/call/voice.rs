//! Recorded speech, and the kind of answer that is wanted.
//!
//! It does not know how a recording was uploaded, nor whether it is one.

use bytes::Bytes;

/// Recorded speech and what is wanted of it.
#[derive(Clone, Debug)]
pub struct Voice {
    /// The recording, in memory only.
    pub audio: Audio,
    /// What is wanted.
    pub wanted: VoiceWanted,
    /// The tenant's menu as JSON text, when the caller sent one.
    pub menu_context: Option<Box<str>>,
}

/// What a voice call asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VoiceWanted {
    /// A spoken answer (MP3), or whatever the provider answers.
    Speech,
    /// The transcription, as JSON.
    Transcript,
}

/// An uploaded recording.
#[derive(Clone, Debug)]
pub struct Audio {
    /// The bytes.
    pub bytes: Bytes,
    /// The file name the caller gave, or `audio`.
    pub file_name: Box<str>,
    /// The declared media type.
    pub content_type: Box<str>,
}

//! Audio formats: checks a recording's declared type against its magic bytes, as every player does.
//!
//! It does not know what is recorded, and does not look further than necessary.

/// Audio container formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Packing {
    /// RIFF with a WAVE form in it, or RF64, its form for long recordings.
    Wav,
    /// A frame of MPEG audio, or the tag before it.
    Mpeg,
    /// EBML whose document type is WebM.
    WebM,
    /// Ogg.
    Ogg,
    /// The ISO base media format (MP4, M4A), which begins with its file type.
    Mp4,
}

/// How far into an EBML header its document type may stand: browsers write it within the first forty bytes.
const EBML_HEADER: usize = 128;

impl Packing {
    /// True when a recording begins with this format's magic bytes.
    pub(super) fn begins(self, recording: &[u8]) -> bool {
        match self {
            Packing::Wav => has(recording, 8, b"WAVE") && (has(recording, 0, b"RIFF") || has(recording, 0, b"RF64")),
            Packing::Mpeg => has(recording, 0, b"ID3") || is_mpeg_frame(recording),
            Packing::WebM => {
                let header = &recording[..recording.len().min(EBML_HEADER)];
                has(header, 0, b"\x1A\x45\xDF\xA3") && memchr::memmem::find(header, b"webm").is_some()
            }
            Packing::Ogg => has(recording, 0, b"OggS"),
            Packing::Mp4 => has(recording, 4, b"ftyp"),
        }
    }
}

fn has(recording: &[u8], at: usize, mark: &[u8]) -> bool {
    recording.get(at..at + mark.len()) == Some(mark)
}

/// The head of a frame (ISO/IEC 11172-3, 2.4.1.3): eleven bits that are set, then a version, a layer, a bit rate and a
/// sampling rate, none of them one of the reserved values.
fn is_mpeg_frame(recording: &[u8]) -> bool {
    let [0xFF, second, third, ..] = *recording else { return false };
    let is_reserved = second & 0x18 == 0x08 || second & 0x06 == 0 || third & 0xF0 == 0xF0 || third & 0x0C == 0x0C;
    second & 0xE0 == 0xE0 && !is_reserved
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ALL: [(Packing, &[u8]); 8] = [
        (Packing::Wav, b"RIFF\x24\x08\0\0WAVEfmt "),
        (Packing::Wav, b"RF64\xff\xff\xff\xffWAVEds64"),
        (Packing::Mpeg, b"ID3\x04\0\0\0\0\0\x23TSSE"),
        (Packing::Mpeg, b"\xFF\xFB\x90\x64\0\0"),
        (Packing::Mpeg, b"\xFF\xF3\x48\xC4\0\0"),
        (Packing::WebM, b"\x1A\x45\xDF\xA3\x9F\x42\x86\x81\x01\x42\xF7\x81\x01\x42\xF2\x81\x04\x42\xF3\x81\x08\x42\x82\x84webm\x42\x87"),
        (Packing::Ogg, b"OggS\0\x02\0\0\0\0\0\0\0\0OpusHead"),
        (Packing::Mp4, b"\0\0\0\x20ftypisom\0\0\x02\0isom"),
    ];

    #[test]
    fn each_packing_is_known_by_its_beginning_and_taken_for_no_other() {
        for (packing, beginning) in ALL {
            for (other, _) in ALL {
                assert_eq!(other.begins(beginning), other == packing, "{other:?} in {packing:?}");
            }
        }
    }

    #[test]
    fn what_only_looks_like_sound_is_none() {
        let others: [&[u8]; 9] = [
            b"",
            b"RIFF\x24\x08\0\0AVI LIST",
            b"\x1A\x45\xDF\xA3\x9F\x42\x82\x88matroska\x42\x87",
            b"%PDF-1.7",
            b"\x7FELF\x02\x01\x01\0",
            b"PK\x03\x04\x14\0",
            b"<!doctype html><script>",
            b"\xFF\xF1\x50\x80",
            b"\xFF\xFF\xFF\xFF",
        ];
        for other in others {
            for (packing, _) in ALL {
                assert!(!packing.begins(other), "{packing:?} in {other:?}");
            }
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(recording in proptest::collection::vec(any::<u8>(), 0..40)) {
            for (packing, _) in ALL {
                packing.begins(&recording);
            }
        }
    }
}

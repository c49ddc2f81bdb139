//! Recordings: how long one may be, by its bytes alone.
//!
//! It decodes no sound. WAV says how many bytes a second has; of other formats only the size is known.

use memchr::memmem;

/// 16 kbit/s: speech is hardly ever recorded with less, and the more bytes a second has the shorter the recording is.
const BYTES_PER_MILLISECOND: u64 = 2;

/// The head of a WAV file, which is not far from the beginning of a body that holds one.
const WAV: &[u8] = b"WAVEfmt ";

/// How far the head of a WAV file is searched for: beyond the fields of a form.
const SEARCHED: usize = 16 * 1024;

/// From the beginning of [`WAV`] to the number of bytes that a second has: the mark, the length of this part of the head, the
/// format, the channels and the sampling rate are before it.
const BYTE_RATE: usize = 8 + 4 + 2 + 2 + 4;

/// The most milliseconds that a recording takes, alone or in a form.
pub(crate) fn longest(body: &[u8]) -> u32 {
    let bytes = body.len() as u64;
    let milliseconds = match wav_byte_rate(body) {
        Some(rate) => bytes.saturating_mul(1_000) / rate,
        None => bytes / BYTES_PER_MILLISECOND,
    };
    milliseconds.try_into().unwrap_or(u32::MAX)
}

fn wav_byte_rate(body: &[u8]) -> Option<u64> {
    let at = memmem::find(body.get(..SEARCHED.min(body.len()))?, WAV)? + BYTE_RATE;
    let rate = u32::from_le_bytes(body.get(at..at + 4)?.try_into().ok()?);
    // A head that claims less than any recording has is no head.
    Some(u64::from(rate)).filter(|rate| *rate >= 1_000 * BYTES_PER_MILLISECOND)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The head of a WAV file with 16-bit samples of one channel.
    fn wav(sampling_rate: u32) -> Vec<u8> {
        let rate = (2 * sampling_rate).to_le_bytes();
        let sampling_rate = sampling_rate.to_le_bytes();
        [b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0\x01\0\x01\0", &sampling_rate[..], &rate, b"\x02\0\x10\0data\0\0\0\0"].concat()
    }

    #[test]
    fn a_wav_says_how_long_it_is_and_other_recordings_are_as_long_as_their_bytes_allow() {
        let second = [wav(16_000), vec![0; 32_000]].concat();
        assert_eq!(longest(&second), 1_001);
        let form = [b"--x\r\nContent-Disposition: form-data; name=\"file\"\r\n\r\n".to_vec(), second].concat();
        assert_eq!(longest(&form), 1_003);
        assert_eq!((longest(&[0; 4_000]), longest(b"")), (2_000, 0));
        assert_eq!(longest(&[wav(0), vec![0; 3_956]].concat()), 2_000, "no second has no bytes");
        assert_eq!(longest(&wav(16_000)[..20]), 10);
    }
}

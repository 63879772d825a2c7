//! WebP files: checks chunk lengths and mends the first frame of animations, which the decoder does not.

use std::borrow::Cow;

/// Prepares the file for the decoder. Every chunk must end inside the file, because the decoder allocates what a chunk
/// claims.
pub(super) fn prepare(bytes: &[u8]) -> Result<Cow<'_, [u8]>, String> {
    let mut bytes = Cow::Borrowed(bytes);
    let (mut at, mut frames) = (12, 0);
    while let Some(&[n, a, m, e, l0, l1, l2, l3]) = bytes.get(at..at + 8) {
        let length = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
        let left = bytes.len() - at - 8;
        if length > left {
            return Err(format!("a file that is cut off (a chunk of {length} bytes, {left} left)"));
        }
        if [n, a, m, e] == *b"ANMF" && length >= 16 {
            frames += 1;
            if frames == 1 {
                // The first frame has nothing to be mixed with. The decoder would mix it with black, and transparent
                // pixels would lose their colour.
                bytes.to_mut()[at + 8 + 15] |= 2;
            }
        }
        at = at + 8 + length + length % 2;
    }
    Ok(bytes)
}

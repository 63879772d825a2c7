//! What the decoder of WebP files does not see to.

use std::borrow::Cow;

/// The file for the decoder, each of whose chunks must end inside it: the decoder allocates what one
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
                // There is nothing that the first frame could be mixed with. The decoder would take
                // black, and a transparent pixel lose its colour.
                bytes.to_mut()[at + 8 + 15] |= 2;
            }
        }
        at = at + 8 + length + length % 2;
    }
    Ok(bytes)
}

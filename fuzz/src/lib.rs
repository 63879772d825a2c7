//! What fuzz targets share.

/// The bytes as a weight file, with the header's checksum right if there is a header: a fuzzer does not guess checksums.
pub fn with_header_checksum(mut bytes: Vec<u8>) -> Vec<u8> {
    let length = bytes.get(8..16).and_then(|b| b.try_into().ok()).map(u64::from_le_bytes);
    let end = length.and_then(|n| usize::try_from(n).ok()).and_then(|n| n.checked_add(24));
    if let Some(crc) = end.and_then(|end| bytes.get(24..end)).map(crc32fast::hash) {
        bytes[16..20].copy_from_slice(&crc.to_le_bytes());
    }
    bytes
}

//! What fuzz targets share.

pub mod file;
pub mod network;
pub mod source;

// Random networks, the walk through the oracle's loops and weight files in parts are those of the tests.
#[path = "../../crates/mnx-graph/tests/common/mod.rs"]
pub mod common;
#[path = "../../crates/mnx-graph/src/testing.rs"]
pub mod random;
#[path = "../../crates/mnx-graph/tests/common/walk.rs"]
pub mod walk;

pub use file::InMemory;
pub use source::Source;

/// The bytes as a weight file, with the header's checksum right if there is a header: a fuzzer does not guess checksums.
pub fn with_header_checksum(mut bytes: Vec<u8>) -> Vec<u8> {
    let length = bytes.get(8..16).and_then(|b| b.try_into().ok()).map(u64::from_le_bytes);
    let end = length.and_then(|n| usize::try_from(n).ok()).and_then(|n| n.checked_add(24));
    if let Some(crc) = end.and_then(|end| bytes.get(24..end)).map(crc32fast::hash) {
        bytes[16..20].copy_from_slice(&crc.to_le_bytes());
    }
    bytes
}

/// What is wrong stands on one line, and nothing in it moves a terminal's cursor.
pub fn assert_one_line(message: &str) {
    assert!(!message.chars().any(char::is_control), "{message:?}");
}

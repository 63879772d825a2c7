//! Bytes that stay for as long as the process runs, as embedded ones do.

use std::sync::Mutex;

/// `bytes` at `offset` past a multiple of 64.
pub fn kept_at(bytes: &[u8], offset: usize) -> &'static [u8] {
    /// Where they are: a leak detector counts what a static knows as kept.
    static KEPT: Mutex<Vec<usize>> = Mutex::new(Vec::new());
    let memory: &'static mut [u8] = vec![0; bytes.len() + 128].leak();
    KEPT.lock().unwrap().push(memory.as_ptr().expose_provenance());
    let start = memory.as_ptr().align_offset(64) + offset;
    memory[start..start + bytes.len()].copy_from_slice(bytes);
    &memory[start..start + bytes.len()]
}

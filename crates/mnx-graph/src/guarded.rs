//! A session's memory with pages that fault around each of its regions, for tests: a value that shares memory with no other, the
//! scratch of each step in each thread, the rows of each output.
//!
//! In ordinary builds a session is one allocation, and values lie where others lay before: a step that reads or writes past one
//! of its own is seen by nothing. Here it ends the process. What is computed, and with which kernels, stays the same.

use std::cell::Cell;
use std::ops::{Deref, DerefMut, Range};
use std::ptr;

use crate::Error;

/// To which end of its pages a region is moved, so that not one byte lies between it and the page without access. At the other
/// end there may be up to a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Against the page before it.
    Before,
    /// Against the page behind it.
    Behind,
}

thread_local! {
    static SIDE: Cell<Side> = const { Cell::new(Side::Behind) };
}

/// Where sessions of this thread have their regions when they are next prepared.
pub fn against(side: Side) {
    SIDE.set(side);
}

/// Bytes of a page, or of several: as large as any system of the tests has them.
const PAGE: usize = 64 << 10;

/// Places regions one after the other, each between two pages.
#[derive(Debug)]
pub(crate) struct Places {
    end: usize,
    side: Side,
    /// What may be read and written.
    pub(crate) open: Vec<Range<usize>>,
}

impl Places {
    pub(crate) fn new() -> Places {
        Places { end: 0, side: SIDE.get(), open: Vec::new() }
    }

    /// Where a region of so many bytes starts, at a multiple of `align`. `None` if it cannot be counted.
    pub(crate) fn add(&mut self, bytes: usize, align: usize) -> Option<usize> {
        let first = self.end.checked_add(PAGE)?;
        let inner = bytes.checked_next_multiple_of(PAGE)?;
        self.end = first.checked_add(inner)?;
        self.open.push(first..self.end);
        Some(match self.side {
            Side::Before => first,
            Side::Behind => self.end - bytes.next_multiple_of(align),
        })
    }

    /// Bytes of them all, the last page without access included.
    pub(crate) fn bytes(&self) -> Option<usize> {
        self.end.checked_add(PAGE)
    }
}

/// Memory of which some pages may be used.
pub(crate) struct Memory {
    map: *mut u8,
    len: usize,
}

// SAFETY: it owns its pages.
unsafe impl Send for Memory {}
// SAFETY: shared, it is only read.
unsafe impl Sync for Memory {}

impl Memory {
    /// `len` bytes, of which those in `open` are zeros and the others fault.
    pub(crate) fn new(len: usize, open: &[Range<usize>]) -> Result<Memory, Error> {
        let no_memory = || Error::Memory { what: "guarded memory", bytes: len as u64 };
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        let bytes = len.max(1);
        // SAFETY: a new mapping, wherever there is room.
        let map = unsafe { libc::mmap(ptr::null_mut(), bytes, libc::PROT_NONE, flags, -1, 0) };
        if map == libc::MAP_FAILED {
            return Err(no_memory());
        }
        let memory = Memory { map: map.cast(), len };
        for range in open.iter().filter(|range| !range.is_empty()) {
            assert!(range.end <= len, "regions lie in the memory");
            // SAFETY: these pages are the mapping's.
            let opened = unsafe {
                libc::mprotect(memory.map.add(range.start).cast(), range.len(), libc::PROT_READ | libc::PROT_WRITE)
            };
            if opened != 0 {
                return Err(no_memory());
            }
        }
        Ok(memory)
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: the mapping made in `new`; nobody borrows it.
        unsafe { libc::munmap(self.map.cast(), self.len.max(1)) };
    }
}

impl Deref for Memory {
    type Target = [u8];

    /// All of it: who reads between the regions ends the process, as is meant here.
    fn deref(&self) -> &[u8] {
        // SAFETY: the mapping is there. Its closed pages are not read, or else the test has found what it looks for.
        unsafe { std::slice::from_raw_parts(self.map, self.len) }
    }
}

impl DerefMut for Memory {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as for `deref`, and borrowed once.
        unsafe { std::slice::from_raw_parts_mut(self.map, self.len) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether a child process survives reading this byte.
    fn readable(byte: *const u8) -> bool {
        // SAFETY: the child reads one byte and ends; the parent waits for it.
        unsafe {
            let child = libc::fork();
            if child == 0 {
                libc::signal(libc::SIGSEGV, libc::SIG_DFL);
                libc::signal(libc::SIGBUS, libc::SIG_DFL);
                libc::_exit(i32::from(byte.read_volatile() == 255));
            }
            let mut status = 0;
            assert_eq!(libc::waitpid(child, &raw mut status, 0), child);
            libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0
        }
    }

    #[test]
    fn nothing_but_regions_can_be_read() {
        for side in [Side::Before, Side::Behind] {
            against(side);
            let mut places = Places::new();
            let regions = [100, 0, PAGE, 3 * PAGE - 64].map(|bytes| (places.add(bytes, 4).unwrap(), bytes));
            let memory = Memory::new(places.bytes().unwrap(), &places.open).unwrap();
            for (start, bytes) in regions {
                let at = |byte: usize| memory.map.wrapping_add(byte).cast_const();
                if bytes > 0 {
                    assert!(readable(at(start)) && readable(at(start + bytes - 1)), "{side:?}, {bytes} bytes");
                }
                let outside = if side == Side::Before { start - 1 } else { start + bytes };
                assert!(!readable(at(outside)), "{side:?}, {bytes} bytes");
            }
        }
    }
}

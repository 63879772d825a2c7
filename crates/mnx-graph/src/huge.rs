//! Memory on huge pages.
//!
//! Every inference reads all weights. On pages of 4 KiB they take thousands of page addresses. A CPU keeps fewer than that
//! translated, and looks the others up in the page tables each time. On pages of 2 MiB there are only a handful.

use memmap2::{Advice, MmapMut};

/// Bytes of a huge page on x86-64, and on aarch64 if its other pages have 4 KiB. Elsewhere the advice below does nothing.
const PAGE: usize = 2 << 20;

/// Zeroed memory aligned to a huge page. The operating system is asked for huge pages and gives others if it has none.
#[derive(Debug)]
pub(crate) struct HugePages {
    map: MmapMut,
    start: usize,
    len: usize,
}

impl HugePages {
    /// `len` bytes. `None` if they would fill less than half a huge page, or if the operating system has no such pages.
    pub(crate) fn zeroed(len: usize) -> Option<HugePages> {
        // The last page is a huge one only if at least half of it is used.
        let huge = len.checked_add(PAGE / 2)? / PAGE * PAGE;
        if huge == 0 {
            return None;
        }
        // This reserves addresses. Pages that are never written to take no memory.
        let map = MmapMut::map_anon(len.checked_add(2 * PAGE)?).ok()?;
        let start = (map.as_ptr() as usize).wrapping_neg() % PAGE;
        map.advise_range(Advice::HugePage, start, huge).ok()?;
        Some(HugePages { map, start, len })
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.map[self.start..][..self.len]
    }

    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.map[self.start..][..self.len]
    }
}

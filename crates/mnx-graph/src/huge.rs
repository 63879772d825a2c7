//! Memory on huge pages.
//!
//! An inference walks through all weights. On pages of 4 KiB these are thousands of addresses, more than a CPU keeps
//! translated, and each that it does not keep is a walk through page tables; on pages of 2 MiB they are a handful.

use memmap2::{Advice, MmapMut};

/// Bytes of a huge page: on x86-64, and on aarch64 where others have 4 KiB. Elsewhere the advice below does nothing.
const PAGE: usize = 2 << 20;

/// Zeros, aligned to a huge page. The kernel is asked for such pages, and gives others where it has none.
#[derive(Debug)]
pub(crate) struct HugePages {
    map: MmapMut,
    start: usize,
    len: usize,
}

impl HugePages {
    /// `len` bytes, if they would fill half a page or more, and the kernel knows such pages.
    pub(crate) fn zeroed(len: usize) -> Option<HugePages> {
        // A last page of which less than half is used would be a waste.
        let huge = len.checked_add(PAGE / 2)? / PAGE * PAGE;
        if huge == 0 {
            return None;
        }
        // Addresses only: what is not written to takes no memory.
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

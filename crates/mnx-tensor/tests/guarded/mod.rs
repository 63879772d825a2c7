//! Buffers between two pages without access.

use std::cell::RefCell;

/// Which of the two pages a buffer touches.
#[derive(Clone, Copy, Debug)]
pub enum Side {
    Before,
    Behind,
}

/// Pages of a mapping that is made before one of its size is asked for: most buffers fit.
const USUAL: usize = 16;

/// A new mapping whose first and last page fault.
struct Mapping {
    map: *mut u8,
    bytes: usize,
    page: usize,
}

impl Mapping {
    fn new(len: usize) -> Mapping {
        // SAFETY: asks for a number.
        let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) } as usize;
        let inner = len.next_multiple_of(page).max(USUAL * page);
        let bytes = inner + 2 * page;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        // SAFETY: a new anonymous mapping, of which the inner pages are opened.
        let map = unsafe {
            let map = libc::mmap(std::ptr::null_mut(), bytes, libc::PROT_NONE, flags, -1, 0).cast::<u8>();
            assert_ne!(map.cast(), libc::MAP_FAILED);
            let opened = libc::mprotect(map.add(page).cast(), inner, libc::PROT_READ | libc::PROT_WRITE) == 0;
            assert!(opened, "{inner} bytes: {}", std::io::Error::last_os_error());
            map
        };
        Mapping { map, bytes, page }
    }

    /// Bytes between the two pages.
    fn inner(&self) -> usize {
        self.bytes - 2 * self.page
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the mapping made in `new`.
        unsafe { libc::munmap(self.map.cast(), self.bytes) };
    }
}

thread_local! {
    /// Mappings that nobody uses at the moment: making one takes longer than most kernels.
    static FREE: RefCell<Vec<Mapping>> = const { RefCell::new(Vec::new()) };
}

/// A buffer that touches one of the pages of its mapping. Its bytes are some numbers.
pub struct Guarded {
    mapping: Option<Mapping>,
    pub start: *mut u8,
    /// Bytes.
    len: usize,
}

impl Guarded {
    pub fn new(len: usize, side: Side) -> Guarded {
        let fitting = FREE.with_borrow_mut(|free| {
            let found = free.iter().position(|mapping| mapping.inner() >= len);
            found.map(|at| free.swap_remove(at))
        });
        let mapping = fitting.unwrap_or_else(|| Mapping::new(len));
        let offset = match side {
            Side::Before => mapping.page,
            Side::Behind => mapping.bytes - mapping.page - len,
        };
        let start = mapping.map.wrapping_add(offset);
        for i in 0..len / 4 {
            // SAFETY: inside the inner pages.
            unsafe { start.cast::<f32>().add(i).write_unaligned(i as f32 % 7.0 - 3.0) };
        }
        Guarded { mapping: Some(mapping), start, len }
    }

    /// With these bytes in it.
    pub fn of(bytes: &[u8], side: Side) -> Guarded {
        let guarded = Guarded::new(bytes.len(), side);
        // SAFETY: inside the inner pages, which are no part of `bytes`.
        unsafe { guarded.start.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
        guarded
    }

    /// # Safety
    /// The buffer outlives them, and nobody writes to it meanwhile.
    pub unsafe fn values<'a>(&self) -> &'a [f32] {
        // SAFETY: inside the inner pages, and written when the buffer was made.
        unsafe { std::slice::from_raw_parts(self.start.cast(), self.len / 4) }
    }

    /// # Safety
    /// As [`values`](Guarded::values).
    pub unsafe fn bytes<'a, T: bytemuck::Pod>(&self) -> &'a [T] {
        // SAFETY: inside the inner pages, which are zero where nothing was written. Types of one byte are aligned.
        unsafe { std::slice::from_raw_parts(self.start.cast(), self.len / size_of::<T>()) }
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        FREE.with_borrow_mut(|free| free.extend(self.mapping.take()));
    }
}

//! What happens to a finished sum on its way to memory: clamp, then the residual and its own clamp.

use crate::args::{Clamp, PlanesMut, Residual};
use crate::simd::Simd;

/// The epilogue of one block of 8 output channels.
#[derive(Clone, Copy)]
pub(super) struct Epilogue<S: Simd> {
    lo: S::C8,
    hi: S::C8,
    /// Pixel 0 of the residual in this block; not read where `lanes` is 0.
    residual: *const f32,
    /// How many of the eight channels the residual covers.
    lanes: usize,
    /// What clamps those channels' sums.
    clamp: Clamp,
}

impl<S: Simd> Epilogue<S> {
    /// For block `block` of the output.
    #[inline(always)]
    pub(super) fn new(s: S, clamp: Clamp, residual: Option<Residual>, block: usize) -> Self {
        let (residual, lanes, after) = match residual {
            Some(r) => {
                let ptr = r.planes.ptr.wrapping_add(block * r.planes.stride);
                (ptr, r.channels.saturating_sub(block * 8).min(8), r.clamp)
            }
            None => (std::ptr::null(), 0, Clamp::NONE),
        };
        Epilogue { lo: s.splat8(clamp.lo), hi: s.splat8(clamp.hi), residual, lanes, clamp: after }
    }

    /// Clamps `sum`, adds the residual of pixel `pixel` if there is one, clamps again, and stores it there in the block
    /// at `to`.
    ///
    /// # Safety
    /// the block at `to` is writable, and a residual readable, at `pixel`.
    #[inline(always)]
    pub(super) unsafe fn store(&self, s: S, sum: S::C8, pixel: usize, to: *mut f32) {
        let mut y = s.clamp8(sum, self.lo, self.hi);
        // One branch per pixel, always the same way within a block: code for both would double the kernels.
        if self.lanes > 0 {
            // SAFETY: readable by the caller's promise.
            let shortcut = unsafe { s.load8(self.residual.wrapping_add(pixel * 8)) };
            // Lanes past the identity keep `y`: adding 0 · shortcut would spread its NaN and Inf.
            let total = s.clamp8(s.add8(y, shortcut), s.splat8(self.clamp.lo), s.splat8(self.clamp.hi));
            y = s.first8(self.lanes, total, y);
        }
        // SAFETY: writable by the caller's promise.
        unsafe { s.store8(to.wrapping_add(pixel * 8), y) }
    }
}

/// Where the panels of a tile go: 16 channels are two blocks.
pub(super) struct Panels {
    pub(super) dst: PlanesMut,
    pub(super) clamp: Clamp,
    pub(super) residual: Option<Residual>,
    pub(super) cout: usize,
}

impl Panels {
    /// One panel's sums of neighbouring pixels, the second block only if it has channels.
    ///
    /// # Safety
    /// The pixels are writable in the panel's blocks; a residual is readable there.
    #[inline(always)]
    pub(super) unsafe fn store<S: Simd, const PIXELS: usize>(
        &self,
        s: S,
        pixel: usize,
        panel: usize,
        sums: &[S::P16; PIXELS],
    ) {
        let block = 2 * panel;
        let to = self.dst.ptr.wrapping_add(block * self.dst.stride);
        let epilogue = Epilogue::new(s, self.clamp, self.residual, block);
        // SAFETY: the caller's promise.
        unsafe {
            for (p, &sum) in sums.iter().enumerate() {
                epilogue.store(s, s.halves(sum).0, pixel + p, to);
            }
            if (block + 1) * 8 < self.cout {
                let epilogue = Epilogue::new(s, self.clamp, self.residual, block + 1);
                for (p, &sum) in sums.iter().enumerate() {
                    epilogue.store(s, s.halves(sum).1, pixel + p, to.wrapping_add(self.dst.stride));
                }
            }
        }
    }

    /// The first block's sums, of a panel that has no second one.
    ///
    /// # Safety
    /// As [`store`](Panels::store).
    #[inline(always)]
    pub(super) unsafe fn store_first<S: Simd, const PIXELS: usize>(
        &self,
        s: S,
        pixel: usize,
        panel: usize,
        sums: &[S::C8; PIXELS],
    ) {
        let to = self.dst.ptr.wrapping_add(2 * panel * self.dst.stride);
        let epilogue = Epilogue::new(s, self.clamp, self.residual, 2 * panel);
        for (p, &sum) in sums.iter().enumerate() {
            // SAFETY: the caller's promise.
            unsafe { epilogue.store(s, sum, pixel + p, to) }
        }
    }
}

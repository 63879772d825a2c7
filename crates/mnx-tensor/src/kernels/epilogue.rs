//! What happens to finished sums on their way to memory: clamp, then the residual and its own clamp.

use crate::constant::unrolled;
use crate::part::{PlanesMut, Residual};
use crate::simd::Simd;
use crate::{Clamp, Operands, Part};

/// The epilogue of one block of 8 output channels.
#[derive(Clone, Copy)]
pub(super) struct Epilogue<S: Simd> {
    /// The layer's clamp, unless it lets everything pass.
    clamp: Option<(S::C8, S::C8)>,
    residual: Option<Shortcut>,
}

/// A residual in one block of channels.
#[derive(Clone, Copy)]
struct Shortcut {
    /// Pixel 0.
    from: *const f32,
    /// How many of the eight channels it covers.
    lanes: usize,
    /// What clamps those channels' sums.
    clamp: Clamp,
    /// Whether it is only added: to all eight channels, with no clamp after.
    plain: bool,
}

impl<S: Simd> Epilogue<S> {
    /// For block `block` of the output.
    #[inline(always)]
    pub(super) fn new(s: S, clamp: Clamp, residual: Option<Residual>, block: usize) -> Self {
        let residual = residual.filter(|r| r.channels > block * 8).map(|r| {
            let from = r.planes.block::<f32>(block);
            let lanes = (r.channels - block * 8).min(8);
            Shortcut { from, lanes, clamp: r.clamp, plain: lanes == 8 && r.clamp == Clamp::NONE }
        });
        let clamp = (clamp != Clamp::NONE).then(|| (s.splat8(clamp.lo), s.splat8(clamp.hi)));
        Epilogue { clamp, residual }
    }

    /// In two, if `apart` and the residual is more than a plain addition: the second epilogue works on what the first has
    /// stored. Loops that fill the registers have no room for it.
    #[inline(always)]
    pub(super) fn split(self, apart: bool) -> (Self, Option<Self>) {
        match self.residual {
            Some(r) if apart && !r.plain => {
                (Epilogue { residual: None, ..self }, Some(Epilogue { clamp: None, ..self }))
            }
            _ => (self, None),
        }
    }

    /// The same epilogue, marked so that the compiler knows its residual to be a plain addition.
    #[inline(always)]
    pub(super) fn plain(&self) -> Self {
        Epilogue { residual: self.residual.map(|r| Shortcut { plain: true, ..r }), ..*self }
    }

    /// Clamps the sums of neighbouring pixels, adds the residual of these if there is one, clamps again, and stores them
    /// from pixel `pixel` on in the block at `to`.
    ///
    /// # Safety
    /// The block at `to` is writable, and a residual readable, at these pixels.
    #[inline(always)]
    pub(super) unsafe fn store<const PIXELS: usize>(&self, s: S, sums: &[S::C8; PIXELS], pixel: usize, to: *mut f32) {
        let mut sums = *sums;
        let to = to.wrapping_add(pixel * 8);
        // One branch a tile, which always goes the same way. A clamp between infinities would cost as much as a real one.
        if let Some((lo, hi)) = self.clamp {
            unrolled!(p in PIXELS => sums[p] = s.clamp8(sums[p], lo, hi));
        }
        if let Some(shortcut) = self.residual {
            let from = shortcut.from.wrapping_add(pixel * 8);
            // SAFETY: readable by the caller's promise.
            let total = |p: usize, sum| s.add8(sum, unsafe { s.load8(from.wrapping_add(p * 8)) });
            if shortcut.plain {
                unrolled!(p in PIXELS => sums[p] = s.settle8(total(p, sums[p])));
            } else {
                let (lo, hi) = (s.splat8(shortcut.clamp.lo), s.splat8(shortcut.clamp.hi));
                // Lanes past the identity keep their sum: adding 0 · shortcut would spread its NaN and Inf.
                unrolled!(p in PIXELS => {
                    sums[p] = s.first8(shortcut.lanes, s.clamp8(total(p, sums[p]), lo, hi), sums[p]);
                });
            }
        }
        // SAFETY: writable by the caller's promise.
        unsafe { unrolled!(p in PIXELS => s.store8(to.wrapping_add(p * 8), sums[p])) }
    }
}

/// Where the panels of a tile go: 16 channels are two blocks.
pub(super) struct Panels {
    dst: PlanesMut,
    clamp: Clamp,
    residual: Option<Residual>,
    cout: usize,
}

impl Panels {
    #[inline(always)]
    pub(super) fn new(layer: &Operands<'_>, part: &Part) -> Panels {
        Panels { dst: part.dst, clamp: layer.clamp, residual: part.residual, cout: layer.cout }
    }

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
        let to = self.dst.block::<f32>(block);
        let mut sums = *sums;
        if self.clamp != Clamp::NONE {
            unrolled!(p in PIXELS => sums[p] = s.clamp16(sums[p], self.clamp.lo, self.clamp.hi));
        }
        let has_second = (block + 1) * 8 < self.cout;
        let second_to = to.wrapping_byte_add(self.dst.stride);
        if self.residual.is_none() {
            // SAFETY: the caller's promise.
            unsafe {
                unrolled!(p in PIXELS => s.store_first(to.wrapping_add((pixel + p) * 8), sums[p]));
                if has_second {
                    unrolled!(p in PIXELS => s.store_second(second_to.wrapping_add((pixel + p) * 8), sums[p]));
                }
            }
            return;
        }
        let (mut first, mut second) = ([s.halves(sums[0]).0; PIXELS], [s.halves(sums[0]).1; PIXELS]);
        unrolled!(p in PIXELS => (first[p], second[p]) = s.halves(sums[p]));
        // SAFETY: the caller's promise.
        unsafe {
            Epilogue::new(s, Clamp::NONE, self.residual, block).store(s, &first, pixel, to);
            if has_second {
                let epilogue = Epilogue::new(s, Clamp::NONE, self.residual, block + 1);
                epilogue.store(s, &second, pixel, second_to);
            }
        }
    }

    /// The sums of neighbouring panels, from `panel` on, three at most.
    ///
    /// # Safety
    /// As [`store`](Panels::store), for each of them.
    #[inline(always)]
    pub(super) unsafe fn store_all<S: Simd, const PIXELS: usize, const PANELS: usize>(
        &self,
        s: S,
        pixel: usize,
        panel: usize,
        sums: &[[S::P16; PIXELS]; PANELS],
    ) {
        const { assert!(PANELS >= 1 && PANELS <= 3) };
        // SAFETY: the caller's promise.
        unsafe {
            // The compiler would not unroll a loop of so much, and put all sums on the stack for it.
            self.store(s, pixel, panel, &sums[0]);
            if PANELS > 1 {
                self.store(s, pixel, panel + 1, &sums[1 % PANELS]);
            }
            if PANELS > 2 {
                self.store(s, pixel, panel + 2, &sums[2 % PANELS]);
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
        let to = self.dst.block::<f32>(2 * panel);
        // SAFETY: the caller's promise.
        unsafe { Epilogue::new(s, self.clamp, self.residual, 2 * panel).store(s, sums, pixel, to) }
    }
}

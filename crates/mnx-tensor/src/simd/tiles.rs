//! AMX's tiles, in assembly: registers of 16 rows of 64 bytes, and their products.
//!
//! The compiler knows nothing of tiles: this crate and the standard library have no intrinsics for them, and no calling convention
//! preserves them. So what a block of assembly leaves in a tile the next one finds, if nothing but this file's functions and
//! code that is inlined between them runs meanwhile; signals and the scheduler save and restore all of it.
//!
//! | tiles | hold |
//! | --- | --- |
//! | 0, 1 and 2, 3 | two sets of sums of a pair of row groups |
//! | 4, 5 | inputs of the pair |
//! | 6 | weights |

use std::arch::asm;

/// Bytes of a tile's row, and of a row of inputs.
pub(crate) const ROW: usize = 64;
/// Rows of a tile: the most pixels, or groups of four input channels, that it holds.
pub(crate) const ROWS: usize = 16;
/// Bytes of a whole tile.
pub(crate) const TILE: usize = ROW * ROWS;

/// What `ldtilecfg` reads.
#[repr(C, align(64))]
struct Palette {
    palette: u8,
    start: u8,
    reserved: [u8; 14],
    row_bytes: [u16; 16],
    rows: [u8; 16],
}

/// Tiles that are set up; they are released when it is dropped.
#[derive(Debug)]
pub(crate) struct Tiles(());

/// Products of one tap of a filter with a pair of tiles of inputs, or with a lone one. A pointwise layer has one tap.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Taps {
    /// The inputs of the first chunk of input channels, of each row group.
    pub(crate) inputs: [*const u8; 2],
    /// Bytes from pixel to pixel.
    pub(crate) inputs_row: usize,
    /// Bytes from chunk to chunk.
    pub(crate) inputs_step: usize,
    /// Weights of the first chunk.
    pub(crate) weights: *const i8,
    /// Weights of the last chunk, which may begin before the one before it ends.
    pub(crate) last_weights: *const i8,
    /// Bytes from group to group.
    pub(crate) weights_row: usize,
    /// Chunks before the last one.
    pub(crate) whole: usize,
}

/// Adds to the sums of one set of tiles.
macro_rules! add {
    ($first:literal $($second:literal)?, $taps:expr) => {
        asm!(
            "test {chunks}, {chunks}",
            "jz 3f",
            "2:",
            "tileloadd tmm6, [{w} + {w_row}]",
            "tileloadd tmm4, [{x} + {x_row}]",
            concat!("tdpbusd tmm", $first, ", tmm4, tmm6"),
            $("tileloadd tmm5, [{other} + {x_row}]",
            concat!("tdpbusd tmm", $second, ", tmm5, tmm6"),)?
            "add {w}, {w_step}",
            "add {x}, {x_step}",
            "add {other}, {x_step}",
            "dec {chunks}",
            "jnz 2b",
            "3:",
            "tileloadd tmm6, [{last} + {w_row}]",
            "tileloadd tmm4, [{x} + {x_row}]",
            concat!("tdpbusd tmm", $first, ", tmm4, tmm6"),
            $("tileloadd tmm5, [{other} + {x_row}]",
            concat!("tdpbusd tmm", $second, ", tmm5, tmm6"),)?
            chunks = inout(reg) $taps.whole => _,
            w = inout(reg) $taps.weights => _,
            w_row = in(reg) $taps.weights_row,
            w_step = in(reg) $taps.weights_row * ROWS,
            x = inout(reg) $taps.inputs[0] => _,
            other = inout(reg) $taps.inputs[1] => _,
            x_row = in(reg) $taps.inputs_row,
            x_step = in(reg) $taps.inputs_step,
            last = in(reg) $taps.last_weights,
            options(nostack, readonly)
        )
    };
}

impl Tiles {
    /// Tiles for row groups of `pixels` pixels and chunks of `groups` groups of four input channels, both 1 to [`ROWS`].
    ///
    /// # Safety
    /// The CPU has AMX, and the process the permission to use it. Until the value is dropped nobody else uses tiles.
    #[inline(always)]
    pub(crate) unsafe fn new(pixels: usize, groups: usize) -> Tiles {
        debug_assert!((1..=ROWS).contains(&pixels) && (1..=ROWS).contains(&groups));
        let (pixels, groups) = (pixels as u8, groups as u8);
        let mut palette = Palette { palette: 1, start: 0, reserved: [0; 14], row_bytes: [0; 16], rows: [0; 16] };
        palette.row_bytes[..7].copy_from_slice(&[64, 64, 64, 64, 4 * u16::from(groups), 4 * u16::from(groups), 64]);
        palette.rows[..7].copy_from_slice(&[pixels, pixels, pixels, pixels, pixels, pixels, groups]);
        // SAFETY: the caller's promise; the palette is one that the CPU has.
        unsafe { asm!("ldtilecfg [{}]", in(reg) &palette, options(nostack, readonly, preserves_flags)) }
        Tiles(())
    }

    /// Sums of a set, of one row group or of two, become the bias.
    ///
    /// # Safety
    /// Sixteen biases are readable.
    #[inline(always)]
    pub(crate) unsafe fn start(&self, second_set: bool, pair: bool, bias: *const i32) {
        macro_rules! start {
            ($($tile:literal),+) => {
                asm!(
                    $(concat!("tileloadd tmm", $tile, ", [{bias} + {none}]"),)+
                    bias = in(reg) bias,
                    none = in(reg) 0_usize,
                    options(nostack, readonly, preserves_flags)
                )
            };
        }
        // SAFETY: the caller's promise; the tiles are set up.
        unsafe {
            match (second_set, pair) {
                (false, true) => start!("0", "1"),
                (false, false) => start!("0"),
                (true, true) => start!("2", "3"),
                (true, false) => start!("2"),
            }
        }
    }

    /// Adds products to a set's sums, of one row group or of two.
    ///
    /// # Safety
    /// Inputs of `pixels` rows of `4 · groups` bytes are readable in each chunk and row group, and `groups` rows of weights in each
    /// chunk, as far apart as `taps` says.
    #[inline(always)]
    pub(crate) unsafe fn add(&self, second_set: bool, pair: bool, taps: &Taps) {
        // SAFETY: the caller's promise; the tiles are set up.
        unsafe {
            match (second_set, pair) {
                (false, true) => add!("0" "1", taps),
                (false, false) => add!("0", taps),
                (true, true) => add!("2" "3", taps),
                (true, false) => add!("2", taps),
            }
        }
    }

    /// Stores a set's sums, sixteen a pixel: of the first row group, and [`TILE`] bytes behind them of the second.
    ///
    /// # Safety
    /// `to` is writable for a tile, or for two.
    #[inline(always)]
    pub(crate) unsafe fn store(&self, second_set: bool, pair: bool, to: *mut i32) {
        macro_rules! store {
            ($($tile:literal at $offset:literal),+) => {
                asm!(
                    $(concat!("tilestored [{to} + {row} + ", $offset, "], tmm", $tile),)+
                    to = in(reg) to,
                    row = in(reg) ROW,
                    options(nostack, preserves_flags)
                )
            };
        }
        // SAFETY: the caller's promise; the tiles are set up.
        unsafe {
            match (second_set, pair) {
                (false, true) => store!("0" at 0, "1" at 1024),
                (false, false) => store!("0" at 0),
                (true, true) => store!("2" at 0, "3" at 1024),
                (true, false) => store!("2" at 0),
            }
        }
    }
}

impl Drop for Tiles {
    #[inline(always)]
    fn drop(&mut self) {
        // SAFETY: the tiles were set up, so the CPU has them. Nothing of theirs is left that the system must save.
        unsafe { asm!("tilerelease", options(nostack, nomem, preserves_flags)) }
    }
}

//! The numbers that stand for something in a TIFF file.

/// Numbers of tags.
pub(super) mod tag {
    pub const WIDTH: u16 = 256;
    pub const HEIGHT: u16 = 257;
    pub const BITS: u16 = 258;
    pub const COMPRESSION: u16 = 259;
    pub const PHOTOMETRIC: u16 = 262;
    pub const FILL_ORDER: u16 = 266;
    pub const STRIP_OFFSETS: u16 = 273;
    pub const ORIENTATION: u16 = 274;
    pub const SAMPLES: u16 = 277;
    pub const ROWS_PER_STRIP: u16 = 278;
    pub const STRIP_BYTES: u16 = 279;
    pub const PLANES: u16 = 284;
    pub const PREDICTOR: u16 = 317;
    pub const TILE_WIDTH: u16 = 322;
    pub const TILE_HEIGHT: u16 = 323;
    pub const TILE_OFFSETS: u16 = 324;
    pub const TILE_BYTES: u16 = 325;
    pub const EXTRA_SAMPLES: u16 = 338;
    pub const SAMPLE_FORMAT: u16 = 339;
    pub const JPEG_TABLES: u16 = 347;
    /// The last one before those that anybody may use, except XMP.
    pub const LAST: u16 = 530;
    pub const XMP: u16 = 700;
}

/// Kinds of colours.
pub(super) mod kind {
    pub const WHITE_IS_0: u64 = 0;
    pub const BLACK_IS_0: u64 = 1;
    pub const RGB: u64 = 2;
    pub const PALETTE: u64 = 3;
    pub const YCBCR: u64 = 6;
}

/// Kinds of channels beside the colours: none that is known, alpha that the colours were multiplied by, and other alpha.
pub(super) const UNSPECIFIED: u64 = 0;
pub(super) const PREMULTIPLIED: u64 = 1;
pub(super) const ALPHA: u32 = 2;
/// Kinds of samples.
pub(super) const SIGNED: u64 = 2;
pub(super) const FLOAT: u64 = 3;
/// An order of a byte's bits in which the lowest comes first.
pub(super) const REVERSED: u64 = 2;
/// Kinds of compression.
pub(super) const PLAIN: u64 = 1;
pub(super) const GROUP_4: u64 = 4;
pub(super) const LZW: u64 = 5;
pub(super) const JPEG: u64 = 7;
pub(super) const DEFLATE: [u64; 2] = [8, 32946];
pub(super) const PACK_BITS: u64 = 32773;

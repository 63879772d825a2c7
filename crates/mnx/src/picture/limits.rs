//! How large a picture may be.

/// Memory that a decoder may take for tables and metadata, whatever the size of the picture.
const BESIDES: u64 = 32 << 20;
/// Memory that the decoding of a pixel takes at most, whatever the format.
const MOST_PER_PIXEL: u64 = 24;

/// How large a picture may be before it is refused. All is known from the headers, before anything is allocated.
///
/// Decoding takes more than the 3 bytes that a pixel has in the end: `Picture::decode` says how
/// much for which format. [`decoded_bytes`](Self::decoded_bytes) bounds what it takes at its peak, besides the file itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PictureLimits {
    /// Most pixels that a picture's header may claim. Default: no limit besides `decoded_bytes`.
    pub pixels: u64,
    /// Most bytes that the decoding of a picture may take at once, without the file. Default: 2²⁸ (256 MiB), enough for 89 million
    /// pixels of a usual PNG or JPEG.
    pub decoded_bytes: u64,
    /// Most bytes of a picture file. Default: 2²⁸.
    pub file_bytes: u64,
}

impl Default for PictureLimits {
    fn default() -> Self {
        PictureLimits { pixels: u64::MAX, decoded_bytes: 1 << 28, file_bytes: 1 << 28 }
    }
}

impl PictureLimits {
    /// Limits for pictures of at most this many pixels: enough memory for every format, and at least the default.
    ///
    /// ```
    /// let limits = mnx::PictureLimits::for_pixels(150_000_000);
    /// assert_eq!(limits.pixels, 150_000_000);
    /// assert!(limits.decoded_bytes >= 3 * 150_000_000);
    /// ```
    pub fn for_pixels(pixels: u64) -> Self {
        let usual = PictureLimits::default();
        let bytes = pixels.saturating_mul(MOST_PER_PIXEL).saturating_add(BESIDES);
        PictureLimits { pixels, decoded_bytes: bytes.max(usual.decoded_bytes), file_bytes: bytes.max(usual.file_bytes) }
    }
}

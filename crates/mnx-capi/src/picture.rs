//! Pictures as pixels.

use std::ffi::c_char;
use std::mem::{MaybeUninit, offset_of};

use mnx::{Frame, Yuv};

use crate::arguments::{create, handle, path, release, values};
use crate::status::{Failure, guard, mnx_status};

/// What the bytes of a frame are. Rows run from top to bottom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum mnx_format {
    /// Red, green, blue.
    MNX_RGB8 = 1,
    /// Red, green, blue, alpha, which is ignored.
    MNX_RGBA8 = 2,
    /// Blue, green, red.
    MNX_BGR8 = 3,
    /// Blue, green, red, and a byte that is ignored.
    MNX_BGRA8 = 4,
    /// One byte, which red, green and blue all are.
    MNX_GREY8 = 5,
    /// Video: a plane of luma, one byte for each pixel, and a plane of chroma, two bytes (blue, red) for 2 x 2 pixels; sides
    /// are rounded up. As ITU-R BT.601 says, in the range 16 to 235: most cameras, and video of standard definition.
    MNX_NV12 = 6,
    /// The same in the range 0 to 255: cameras of phones that say so.
    MNX_NV12_FULL = 7,
    /// As `MNX_NV12`, but as BT.709 says: video of high definition.
    MNX_NV12_BT709 = 8,
    /// As `MNX_NV12_BT709`, in the range 0 to 255.
    MNX_NV12_BT709_FULL = 9,
}

/// A picture of raw 8-bit pixels in the caller's memory, as a camera or a video decoder hands it over.
///
/// Later versions may append members. Set everything to zero, then `struct_size` to `sizeof(mnx_frame)`: a newer library
/// knows by it what an older program does not have, and takes zero for it.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct mnx_frame {
    /// `sizeof(mnx_frame)`.
    pub struct_size: usize,
    /// What the pixels are: an `mnx_format`.
    pub format: i32,
    /// Pixels per row, from 1 on.
    pub width: usize,
    /// Rows, from 1 on.
    pub height: usize,
    /// The first byte of the top row.
    pub pixels: *const u8,
    /// How many bytes there are.
    pub pixels_len: usize,
    /// Bytes from the start of a row to the start of the next, at least those of a row. What lies between is never read; the
    /// last row may end with its last pixel.
    pub stride: usize,
    /// NV12 only: the first byte of the plane of chroma.
    pub chroma: *const u8,
    /// How many bytes that plane has.
    pub chroma_len: usize,
    /// Bytes from the start of one of its rows to the start of the next.
    pub chroma_stride: usize,
}

/// Bytes of `mnx_frame` in the first version.
const FIRST_SIZE: usize = offset_of!(mnx_frame, chroma_stride) + size_of::<usize>();
/// More than any later version will have: a larger `struct_size` was never set.
const MOST_SIZE: usize = 4096;

/// How many bytes a frame's description has, as its first member says.
///
/// # Safety
/// `frame` is NULL, misaligned, or points to an initialised `struct_size`.
unsafe fn struct_size(frame: *const mnx_frame) -> Result<usize, Failure> {
    // SAFETY: the first member is there in every version.
    let size = unsafe { values(frame.cast::<usize>(), 1, "frame") }?[0];
    if !(FIRST_SIZE..=MOST_SIZE).contains(&size) {
        let expected = format_args!("sizeof(mnx_frame), {}", size_of::<mnx_frame>());
        return Err(Failure::argument("frame's struct_size", expected, size));
    }
    Ok(size)
}

/// A copy of a frame's description, whatever version of it the program was compiled with.
///
/// # Safety
/// `frame` is NULL, misaligned, or points to as many bytes as its first member says, all members initialised.
unsafe fn description(frame: *const mnx_frame) -> Result<mnx_frame, Failure> {
    // SAFETY: the caller's promise.
    let size = unsafe { struct_size(frame) }?;
    let known = size_of::<mnx_frame>();
    let bytes = frame.cast::<u8>();
    // SAFETY: what lies beyond the members of this version, if anything: the caller's promise.
    let later = unsafe { values(bytes.wrapping_add(known), size.saturating_sub(known), "frame") }?;
    if later.iter().any(|&byte| byte != 0) {
        let message = "frame: expected members that this version knows, found others that are not zero";
        return Err(Failure::new(mnx_status::MNX_UNSUPPORTED, message));
    }
    let mut copy = MaybeUninit::<mnx_frame>::zeroed();
    // By pointer: C need not initialise what lies between members.
    // SAFETY: no more bytes than either has; any numbers and pointers are members.
    Ok(unsafe {
        std::ptr::copy_nonoverlapping(bytes, copy.as_mut_ptr().cast::<u8>(), size.min(known));
        copy.assume_init()
    })
}

/// The pixels that a program describes.
///
/// # Safety
/// As for `mnx_classifier_classify`; the pixels do not change while the result is in use.
pub(crate) unsafe fn frame<'a>(frame: *const mnx_frame) -> Result<Frame<'a>, Failure> {
    // SAFETY: the caller's promise.
    let described = unsafe { description(frame) }?;
    let mnx_frame { format, width, height, pixels, pixels_len, stride, .. } = described;
    if pixels.is_null() {
        return Err(Failure::argument("frame's pixels", format_args!("{height} rows of pixels"), "NULL"));
    }
    // SAFETY: the caller's promise.
    let pixels = unsafe { values(pixels, pixels_len, "frame's pixels") }?;
    let yuv = match FORMATS.iter().find(|known| **known as i32 == format) {
        Some(mnx_format::MNX_RGB8) => return Ok(Frame::rgb8(pixels, width, height, stride)?),
        Some(mnx_format::MNX_RGBA8) => return Ok(Frame::rgba8(pixels, width, height, stride)?),
        Some(mnx_format::MNX_BGR8) => return Ok(Frame::bgr8(pixels, width, height, stride)?),
        Some(mnx_format::MNX_BGRA8) => return Ok(Frame::bgra8(pixels, width, height, stride)?),
        Some(mnx_format::MNX_GREY8) => return Ok(Frame::grey8(pixels, width, height, stride)?),
        Some(mnx_format::MNX_NV12) => Yuv::Bt601,
        Some(mnx_format::MNX_NV12_FULL) => Yuv::Bt601Full,
        Some(mnx_format::MNX_NV12_BT709) => Yuv::Bt709,
        Some(mnx_format::MNX_NV12_BT709_FULL) => Yuv::Bt709Full,
        None => return Err(Failure::argument("frame's format", "an mnx_format", format)),
    };
    let mnx_frame { chroma, chroma_len, chroma_stride, .. } = described;
    if chroma.is_null() {
        let (rows, bytes) = (height.div_ceil(2), width.div_ceil(2).saturating_mul(2));
        return Err(Failure::argument("frame's chroma", format_args!("{rows} rows of {bytes} bytes"), "NULL"));
    }
    // SAFETY: the caller's promise.
    let chroma = unsafe { values(chroma, chroma_len, "frame's chroma") }?;
    Ok(Frame::nv12([pixels, chroma], width, height, [stride, chroma_stride], yuv)?)
}

/// All of them.
const FORMATS: [mnx_format; 9] = [
    mnx_format::MNX_RGB8,
    mnx_format::MNX_RGBA8,
    mnx_format::MNX_BGR8,
    mnx_format::MNX_BGRA8,
    mnx_format::MNX_GREY8,
    mnx_format::MNX_NV12,
    mnx_format::MNX_NV12_FULL,
    mnx_format::MNX_NV12_BT709,
    mnx_format::MNX_NV12_BT709_FULL,
];

/// Pixels of either kind.
pub(crate) enum Pixels<'a> {
    Raw(Frame<'a>),
    Decoded(mnx::Picture),
}

impl Pixels<'_> {
    pub(crate) fn frame(&self) -> Frame<'_> {
        match self {
            Pixels::Raw(frame) => *frame,
            Pixels::Decoded(picture) => picture.frame(),
        }
    }
}

/// A decoded picture, upright, of red, green and blue bytes. It never changes: any number of threads may use it at once.
pub struct mnx_picture {
    picture: mnx::Picture,
}

/// Decodes a picture file.
///
/// # Safety
/// As [`path`].
pub(crate) unsafe fn open(path: *const c_char) -> Result<mnx::Picture, Failure> {
    // SAFETY: the caller's promise.
    let path = unsafe { self::path(path) }?;
    #[cfg(feature = "image")]
    return Ok(mnx::Picture::open(path)?);
    #[cfg(not(feature = "image"))]
    return Err(no_decoders(&path.display().to_string()));
}

/// Decodes the bytes of a picture file.
///
/// # Safety
/// As [`values`].
pub(crate) unsafe fn decode(bytes: *const u8, len: usize) -> Result<mnx::Picture, Failure> {
    // SAFETY: the caller's promise.
    let bytes = unsafe { values(bytes, len, "bytes") }?;
    #[cfg(feature = "image")]
    return Ok(mnx::Picture::decode(bytes)?);
    #[cfg(not(feature = "image"))]
    return Err(no_decoders(&format!("{} bytes", bytes.len())));
}

#[cfg(not(feature = "image"))]
fn no_decoders(what: &str) -> Failure {
    let message = format!("{what}: expected a build with decoders of pictures (feature `image`), found one without");
    Failure::new(mnx_status::MNX_UNSUPPORTED, message)
}

/// Reads and decodes a picture file: PNG, JPEG, WebP, BMP, GIF, TIFF or PNM, as its content says. `MNX_UNSUPPORTED` if the
/// library was built without decoders.
///
/// # Safety
/// `path` is NULL or a string that ends with NUL: on Unix any bytes, elsewhere UTF-8. `picture` is NULL or may be written; what
/// it becomes belongs to the caller, who releases it with `mnx_picture_free`. After a failure it is NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mnx_picture_open(path: *const c_char, picture: *mut *mut mnx_picture) -> mnx_status {
    // SAFETY: the caller's promise.
    unsafe { create(picture, || Ok(mnx_picture { picture: open(path)? })) }
}

/// Decodes the bytes of a picture file, as `mnx_picture_open` does. They may be freed afterwards.
///
/// # Safety
/// `bytes` is NULL or points to `len` bytes. `picture` as in `mnx_picture_open`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mnx_picture_decode(
    bytes: *const u8,
    len: usize,
    picture: *mut *mut mnx_picture,
) -> mnx_status {
    // SAFETY: the caller's promise.
    unsafe { create(picture, || Ok(mnx_picture { picture: decode(bytes, len)? })) }
}

/// Releases a picture. NULL is fine.
///
/// # Safety
/// `picture` is NULL or a handle that nobody uses any more, and neither is a frame that was made of it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mnx_picture_free(picture: *mut mnx_picture) {
    // SAFETY: the caller's promise.
    unsafe { release(picture) }
}

/// Describes a picture's pixels, which are `MNX_RGB8`, as a frame. They belong to the picture and live as long as it does.
///
/// # Safety
/// `picture` is NULL or a handle that is not released meanwhile; `frame` is NULL or points to an `mnx_frame` whose
/// `struct_size` is set.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn mnx_picture_frame(picture: *const mnx_picture, frame: *mut mnx_frame) -> mnx_status {
    guard(|| {
        // SAFETY: the caller's promise.
        let picture = unsafe { &handle(picture, "picture")?.picture };
        // SAFETY: the caller's promise.
        let struct_size = unsafe { struct_size(frame) }?;
        let described = mnx_frame {
            struct_size,
            format: mnx_format::MNX_RGB8 as i32,
            width: picture.width(),
            height: picture.height(),
            pixels: picture.pixels().as_ptr(),
            pixels_len: picture.pixels().len(),
            stride: 3 * picture.width(),
            chroma: std::ptr::null(),
            chroma_len: 0,
            chroma_stride: 0,
        };
        // SAFETY: `frame` has `struct_size` bytes, by the caller's promise; no more than either has are written.
        unsafe {
            let bytes = (&raw const described).cast::<u8>();
            let frame = frame.cast::<u8>();
            std::ptr::write_bytes(frame.add(size_of::<usize>()), 0, struct_size - size_of::<usize>());
            std::ptr::copy_nonoverlapping(bytes, frame, struct_size.min(size_of::<mnx_frame>()));
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A frame of a version that is as large as one may be.
    #[repr(C)]
    struct Newer {
        frame: mnx_frame,
        later: [u8; MOST_SIZE - size_of::<mnx_frame>()],
    }

    fn newer(struct_size: usize) -> Newer {
        // SAFETY: plain numbers and pointers.
        let mut newer: Newer = unsafe { std::mem::zeroed() };
        newer.frame.struct_size = struct_size;
        newer
    }

    #[test]
    fn sizes_that_no_version_has() {
        let picture = mnx_picture { picture: mnx::Picture::from_rgb8(vec![1, 2, 3], 1, 1).unwrap() };
        for size in [0, 1, FIRST_SIZE - 1, MOST_SIZE + 1, isize::MAX as usize, usize::MAX] {
            let mut newer = newer(size);
            newer.later.fill(7);
            // SAFETY: nothing is read or written beyond the first member.
            unsafe {
                assert_eq!(description(&newer.frame).unwrap_err().status, mnx_status::MNX_INVALID_INPUT);
                assert_eq!(mnx_picture_frame(&picture, &mut newer.frame), mnx_status::MNX_INVALID_INPUT);
            }
            assert_eq!((newer.frame.width, newer.frame.struct_size), (0, size));
            assert!(newer.later.iter().all(|&byte| byte == 7));
        }
    }

    #[test]
    fn frames_of_later_versions() {
        let picture = mnx_picture { picture: mnx::Picture::from_rgb8(vec![1, 2, 3], 1, 1).unwrap() };
        let mut newer = newer(MOST_SIZE);
        newer.later.fill(7);
        let frame = (&raw mut newer).cast::<mnx_frame>();
        // SAFETY: as many bytes as `struct_size` says.
        unsafe {
            assert_eq!(description(frame).unwrap_err().status, mnx_status::MNX_UNSUPPORTED);
            assert_eq!(mnx_picture_frame(&picture, frame), mnx_status::MNX_OK);
            let described = description(frame).unwrap();
            assert_eq!((described.width, described.pixels_len, described.stride), (1, 3, 3));
            assert_eq!(described.struct_size, MOST_SIZE);
        }
        assert!(newer.later.iter().all(|&byte| byte == 0));
    }
}

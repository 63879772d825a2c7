//! Recognises the format of a picture file by its first bytes. File names mean nothing.

/// Bytes at a fixed offset; `?` stands for any byte.
type Signature = (usize, &'static [u8]);

/// A format, its name, whether it is decoded, and its signatures. One signature that fits is enough.
type Row = (PictureFormat, &'static str, bool, &'static [Signature]);

/// Every known format. Those without a signature are recognised by what follows white space.
const FORMATS: &[Row] = &[
    (PictureFormat::Png, "PNG", true, &[(0, b"\x89PNG\r\n\x1a\n")]),
    (PictureFormat::Jpeg, "JPEG", true, &[(0, b"\xFF\xD8\xFF")]),
    (PictureFormat::WebP, "WebP", true, &[(0, b"RIFF????WEBP")]),
    // Texts begin with "BM", too. The last four bytes are the length of a header, at most 124.
    (PictureFormat::Bmp, "BMP", true, &[(0, b"BM?????????????\0\0\0")]),
    (PictureFormat::Gif, "GIF", true, &[(0, b"GIF87a"), (0, b"GIF89a")]),
    (PictureFormat::Tiff, "TIFF", true, &[(0, b"II*\0"), (0, b"MM\0*"), (0, b"II+\0"), (0, b"MM\0+")]),
    (PictureFormat::Pnm, "PNM", true, &[]),
    (PictureFormat::Avif, "AVIF", false, &[(4, b"ftypavif"), (4, b"ftypavis")]),
    (PictureFormat::Heic, "HEIC", false, &[(4, b"ftyphei"), (4, b"ftyphev"), (4, b"ftypmif1"), (4, b"ftypmsf1")]),
    (PictureFormat::Jpeg2000, "JPEG 2000", false, &[(4, b"jP  \r\n\x87\n"), (0, b"\xFF\x4F\xFF\x51")]),
    (PictureFormat::JpegXl, "JPEG XL", false, &[(4, b"JXL \r\n\x87\n"), (0, b"\xFF\x0A")]),
    (PictureFormat::JpegXr, "JPEG XR", false, &[(0, b"II\xBC\x01")]),
    (PictureFormat::Photoshop, "Photoshop", false, &[(0, b"8BPS")]),
    (PictureFormat::OpenExr, "OpenEXR", false, &[(0, b"\x76\x2F\x31\x01")]),
    (PictureFormat::Radiance, "Radiance HDR", false, &[(0, b"#?RADIANCE"), (0, b"#?RGBE")]),
    (PictureFormat::Dds, "DDS", false, &[(0, b"DDS \x7C\0\0\0")]),
    (PictureFormat::Ico, "ICO", false, &[(0, b"\0\0\x01\0")]),
    (PictureFormat::Qoi, "QOI", false, &[(0, b"qoif")]),
    (PictureFormat::Svg, "SVG", false, &[]),
    (PictureFormat::Pdf, "PDF", false, &[(0, b"%PDF-")]),
];

/// A format of picture files. [`Picture::decode`](crate::Picture::decode) reads some of them. The others are recognised so
/// that errors can name them.
///
/// ```
/// use mnx::PictureFormat;
///
/// let avif = PictureFormat::of(b"\0\0\0\x1Cftypavif\0\0\0\0").unwrap();
/// assert_eq!((avif.name(), avif.is_decoded()), ("AVIF", false));
/// assert_eq!(PictureFormat::of(b"GIF89a"), Some(PictureFormat::Gif));
/// assert_eq!(PictureFormat::of(b"folder,label\n"), None);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PictureFormat {
    /// Portable Network Graphics.
    Png,
    /// JPEG, in a JFIF or EXIF container or none.
    Jpeg,
    /// WebP, lossy or lossless, animated or not.
    WebP,
    /// Bitmaps of Windows and OS/2.
    Bmp,
    /// Graphics Interchange Format.
    Gif,
    /// Tagged Image File Format, BigTIFF and raw photographs that are based on it.
    Tiff,
    /// Portable bitmaps: PBM, PGM or PPM, plain or binary.
    Pnm,
    /// AV1 in HEIF.
    Avif,
    /// HEIC and other HEIF pictures, except AVIF.
    Heic,
    /// JPEG 2000, files and bare code streams.
    Jpeg2000,
    /// JPEG XL, files and bare code streams.
    JpegXl,
    /// JPEG XR (HD Photo).
    JpegXr,
    /// Photoshop's PSD and PSB.
    Photoshop,
    /// OpenEXR.
    OpenExr,
    /// Radiance's high dynamic range.
    Radiance,
    /// DirectDraw Surface.
    Dds,
    /// Windows' icons.
    Ico,
    /// Quite OK Image Format.
    Qoi,
    /// Scalable Vector Graphics.
    Svg,
    /// Portable Document Format.
    Pdf,
}

impl PictureFormat {
    /// How many first bytes of a file [`of`](Self::of) looks at.
    pub const BYTES: usize = 256;

    /// The format of a file that begins with `bytes`, or `None` if it is unknown.
    ///
    /// A file of a known format may still be damaged. Formats without a signature, such as Targa, are not recognised.
    pub fn of(bytes: &[u8]) -> Option<Self> {
        let begins = |&(at, signature): &Signature| {
            let bytes = bytes.get(at..at + signature.len());
            bytes.is_some_and(|bytes| bytes.iter().zip(signature).all(|(byte, sign)| *sign == b'?' || byte == sign))
        };
        let row = FORMATS.iter().find(|(.., signatures)| signatures.iter().any(begins));
        let head = &bytes[..bytes.len().min(Self::BYTES)];
        match row {
            // "mif1" only says HEIF. The compatible brands after it say which kind.
            Some((PictureFormat::Heic, ..)) if contains(head, b"avif") => Some(PictureFormat::Avif),
            Some((format, ..)) => Some(*format),
            None if is_pnm(head) => Some(PictureFormat::Pnm),
            None if is_svg(head) => Some(PictureFormat::Svg),
            None => None,
        }
    }

    /// The format's usual name, such as `JPEG 2000`.
    pub fn name(self) -> &'static str {
        self.row().1
    }

    /// Whether [`Picture::decode`](crate::Picture::decode) reads the format.
    pub fn is_decoded(self) -> bool {
        self.row().2
    }

    fn row(self) -> &'static Row {
        FORMATS.iter().find(|(format, ..)| *format == self).expect("the table has every format")
    }
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

/// `P1` to `P6`, white space, then a number or a comment. Texts begin with "P1", too.
fn is_pnm(bytes: &[u8]) -> bool {
    let [b'P', b'1'..=b'6', space, rest @ ..] = bytes else { return false };
    let next = rest.iter().find(|byte| !byte.is_ascii_whitespace());
    space.is_ascii_whitespace() && next.is_some_and(|byte| byte.is_ascii_digit() || *byte == b'#')
}

/// An `<svg` element, possibly after an XML declaration, a comment or a document type.
fn is_svg(bytes: &[u8]) -> bool {
    let bytes = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes).trim_ascii_start();
    bytes.starts_with(b"<svg")
        || ((bytes.starts_with(b"<?xml") || bytes.starts_with(b"<!")) && contains(bytes, b"<svg"))
}

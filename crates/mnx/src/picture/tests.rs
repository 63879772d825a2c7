use super::*;

#[test]
fn frames_that_fit() {
    let pixels = [0; 29];
    // The last row may lack the gap: 2 rows of 3 pixels, 20 bytes apart, end after 29 bytes.
    let frame = Frame::rgb8(&pixels, 3, 2, 20).unwrap();
    assert_eq!((frame.width(), frame.height(), frame.row(1).len()), (3, 2, 9));
    assert!(Frame::rgb8(&pixels[..28], 3, 2, 20).is_err());
    assert!(Frame::rgba8(&pixels[..24], 3, 2, 12).is_ok());
    assert!(Frame::rgba8(&pixels[..23], 3, 2, 12).is_err());
}

#[test]
fn frames_that_do_not() {
    let message = |width, height, stride| Frame::rgb8(&[0; 12], width, height, stride).unwrap_err().to_string();
    assert_eq!(message(0, 2, 6), "raw frame: expected sides of 1 to 4294967295 pixels, found 0 x 2");
    assert_eq!(message(2, 2, 5), "raw frame: expected a stride of at least 2 x 3 bytes, found 5");
    assert_eq!(message(2, 3, 6), "raw frame: expected 3 rows of 6 bytes, 6 bytes apart, found 12 bytes");
    // Products that overflow.
    for (width, height, stride) in [
        (usize::MAX, 1, usize::MAX),
        (1, usize::MAX, 3),
        (u32::MAX as usize, u32::MAX as usize, usize::MAX),
        (1, 2, usize::MAX),
        (2, u32::MAX as usize, usize::MAX / 2),
    ] {
        assert!(Frame::rgb8(&[0; 12], width, height, stride).is_err(), "{width} {height} {stride}");
        assert!(Frame::rgba8(&[0; 12], width, height, stride).is_err(), "{width} {height} {stride}");
    }
}

#[test]
fn pictures_of_ones_own_pixels() {
    let picture = Picture::from_rgb8(vec![7; 18], 3, 2).unwrap();
    assert_eq!((picture.width(), picture.height(), picture.pixels().len()), (3, 2, 18));
    assert_eq!(picture.frame().row(1), [7; 9]);
    for (length, width, height) in [(17, 3, 2), (19, 3, 2), (0, 0, 0), (18, usize::MAX, 2), (18, 3, usize::MAX)] {
        assert!(Picture::from_rgb8(vec![7; length], width, height).is_err(), "{length} {width} {height}");
    }
}

#[cfg(feature = "image")]
mod decoding {
    use std::fs;
    use std::path::{Path, PathBuf};

    use proptest::prelude::*;

    use super::*;
    use crate::{PictureFormat, PictureLimits};

    fn golden(name: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/pictures-golden").join(name)
    }

    fn message(bytes: &[u8]) -> String {
        Picture::decode(bytes).unwrap_err().to_string()
    }

    #[test]
    fn what_is_no_picture() {
        let expected = "picture: expected a PNG, JPEG, WebP, BMP, GIF, TIFF or PNM picture, found ";
        assert_eq!(message(b""), format!("{expected}an empty file"));
        assert_eq!(message(b"<!DOCTYPE html>\n"), format!("{expected}content that begins with \"<!DOCTYPE ht\""));
        assert_eq!(message(b"\0\0\0\x20ftypavif"), format!("{expected}an AVIF picture"));
        assert_eq!(message(b"\0\0\0\x0CjP  \r\n\x87\n"), format!("{expected}a JPEG 2000 picture"));
    }

    #[test]
    fn formats_by_their_first_bytes() {
        use PictureFormat::*;
        for (bytes, format) in [
            (&b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"[..], Png),
            (b"\xFF\xD8\xFF\xE0", Jpeg),
            (b"RIFF\x24\0\0\0WEBPVP8L", WebP),
            (b"BM\x46\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0\x02", Bmp),
            (b"GIF87a", Gif),
            (b"MM\0*\0\0\0\x08", Tiff),
            (b"II+\0\x08\0\0\0", Tiff),
            (b"P6\n# made by hand\n2 2 255\n", Pnm),
            (b"P2 3\t1\n9 0 4 9", Pnm),
            (b"\0\0\0\x1Cftypavif\0\0\0\0", Avif),
            (b"\0\0\0\x1Cftypmif1\0\0\0\0mif1avifmiaf", Avif),
            (b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic", Heic),
            (b"\0\0\0\x18ftypheix", Heic),
            (b"\0\0\0\x0CjP  \r\n\x87\n", Jpeg2000),
            (b"\xFF\x4F\xFF\x51\0\x2F", Jpeg2000),
            (b"\xFF\x0A\xFA\x1F", JpegXl),
            (b"\0\0\0\x0CJXL \r\n\x87\n", JpegXl),
            (b"II\xBC\x01", JpegXr),
            (b"8BPS\0\x01", Photoshop),
            (b"\x76\x2F\x31\x01", OpenExr),
            (b"#?RADIANCE\n", Radiance),
            (b"DDS \x7C\0\0\0", Dds),
            (b"\0\0\x01\0\x01\0", Ico),
            (b"qoif", Qoi),
            (b"\xEF\xBB\xBF<?xml version=\"1.0\"?>\n<svg xmlns=\"\">", Svg),
            (b"<svg width=\"1\">", Svg),
            (b"%PDF-1.7", Pdf),
        ] {
            assert_eq!(PictureFormat::of(bytes), Some(format), "{}", bytes.escape_ascii());
            // The bytes that a caller is told to read are enough.
            let padded = [bytes, &[0xA5; PictureFormat::BYTES]].concat();
            assert_eq!(PictureFormat::of(&padded[..PictureFormat::BYTES]), Some(format));
        }
        for bytes in [
            &b""[..],
            b"B",
            b"BMW 320i, blue\n and more",
            b"P1 is the first of the points",
            b"P7\nWIDTH 2",
            b"RIFF\x24\0\0\0WAVEfmt ",
            b"\0\0\0\x18ftypmp42",
            b"GIF88a",
            b"<?xml version=\"1.0\"?><annotation>",
            b"folder,label\n",
        ] {
            assert_eq!(PictureFormat::of(bytes), None, "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn files_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let absent = folder.path().join("absent.png");
        let error = Picture::open(&absent).unwrap_err();
        assert!(matches!(&error, Error::ReadPicture { path, .. } if *path == absent), "{error}");
        assert!(matches!(Picture::open(folder.path()), Err(Error::ReadPicture { .. })));

        let text = folder.path().join("text.jpg");
        fs::write(&text, "hello").unwrap();
        let error = Picture::open(&text).unwrap_err().to_string();
        assert!(error.starts_with(&format!("{}: expected a PNG", text.display())), "{error}");

        let limits = PictureLimits { file_bytes: 4, ..PictureLimits::default() };
        let error = Picture::open_with(&text, &limits).unwrap_err();
        assert!(matches!(error, Error::PictureBytes { limit: 4, .. }), "{error}");
    }

    /// The content decides, whatever the name says.
    #[test]
    fn a_name_means_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let misnamed = folder.path().join("exif1.png");
        fs::copy(golden("exif1.jpg"), &misnamed).unwrap();
        assert_eq!(Picture::open(misnamed).unwrap(), Picture::open(golden("exif1.jpg")).unwrap());
    }

    /// Cut anywhere before the pixels end, no format gives half a picture.
    #[test]
    fn what_is_cut_off() {
        for name in [
            "53x36.png",
            "exif3.jpg",
            "progressive.jpg",
            "cmyk.jpg",
            "rgb.bmp",
            "rgb.webp",
            "alpha.webp",
            "palette.gif",
        ] {
            let bytes = fs::read(golden(name)).unwrap();
            Picture::decode(&bytes).unwrap();
            for length in (0..bytes.len() / 2).chain([bytes.len() * 3 / 4, bytes.len() * 9 / 10]) {
                let error = Picture::decode(&bytes[..length]).unwrap_err();
                let typed = matches!(error, Error::NoPicture { .. } | Error::BadPicture { .. });
                assert!(typed, "{name} cut to {length}: {error}");
            }
        }
        let bytes = fs::read(golden("exif3.jpg")).unwrap();
        let expected = "picture: expected a complete JPEG picture of a kind that can be decoded, \
                        found: a file that is cut off (no end-of-image marker)";
        assert_eq!(message(&bytes[..bytes.len() - 2]), expected);
    }

    /// Headers that claim 50,000 x 50,000 pixels, over as many bytes as a thumbnail has.
    #[test]
    fn headers_that_claim_too_much() {
        let side = 50_000u32.to_be_bytes();
        let mut png = fs::read(golden("53x36.png")).unwrap();
        png[16..24].copy_from_slice(&[side, side].concat());
        let checksum = crc32(&png[12..29]);
        png[29..33].copy_from_slice(&checksum.to_be_bytes());
        let mut bmp = fs::read(golden("rgb.bmp")).unwrap();
        bmp[18..26].copy_from_slice(&[50_000u32.to_le_bytes(); 2].concat());
        let mut gif = fs::read(golden("palette.gif")).unwrap();
        gif[6..10].copy_from_slice(&[50_000u16.to_le_bytes(); 2].concat());
        let mut jpeg = fs::read(golden("exif1.jpg")).unwrap();
        let frame = jpeg.windows(2).position(|marker| marker == [0xFF, 0xC0]).unwrap();
        jpeg[frame + 5..frame + 9].copy_from_slice(&[50_000u16.to_be_bytes(); 2].concat());
        for bytes in [png, bmp, gif, jpeg] {
            let message = message(&bytes);
            let expected =
                "picture: expected a picture that takes at most 268435456 bytes to decode, found 50000 x 50000 pixels";
            assert!(message.starts_with(expected), "{message}");
            let limits = PictureLimits { pixels: 200_000_000, ..PictureLimits::default() };
            let expected = "picture: expected at most 200000000 pixels, found 50000 x 50000 in the header";
            assert_eq!(Picture::decode_with(&bytes, &limits).unwrap_err().to_string(), expected);
        }
    }

    #[test]
    fn limits_of_ones_own() {
        let bytes = fs::read(golden("53x36.png")).unwrap();
        let limits = |pixels| PictureLimits { pixels, ..PictureLimits::default() };
        Picture::decode_with(&bytes, &limits(53 * 36)).unwrap();
        let error = Picture::decode_with(&bytes, &limits(53 * 36 - 1)).unwrap_err();
        assert!(matches!(error, Error::PicturePixels { width: 53, height: 36, .. }), "{error}");
        assert!(Picture::decode_with(&bytes, &limits(0)).is_err());
    }

    /// Without Adobe's marker nothing says whether the inks of a CMYK picture are inverted.
    #[test]
    fn four_inks_without_a_sign() {
        let mut jpeg = fs::read(golden("cmyk.jpg")).unwrap();
        let adobe = jpeg.windows(5).position(|name| name == b"Adobe").unwrap();
        jpeg[adobe] = b'a';
        assert!(message(&jpeg).contains("found: four channels (CMYK) without Adobe's marker"));
    }

    /// The checksum of a PNG chunk, bit by bit.
    fn crc32(bytes: &[u8]) -> u32 {
        !bytes.iter().fold(!0u32, |crc, &byte| {
            (0..8).fold(crc ^ u32::from(byte), |crc, _| (crc >> 1) ^ (0xEDB8_8320 & (crc & 1).wrapping_neg()))
        })
    }

    const SEEDS: [&str; 8] = [
        "37x53.png",
        "palette-transparent.png",
        "exif6.jpg",
        "progressive.jpg",
        "cmyk.jpg",
        "rgb.bmp",
        "alpha.webp",
        "two-frames.gif",
    ];

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(512))]
        #[test]
        fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = Picture::decode(&bytes);
        }

        /// A few bytes of a real picture overwritten, which gets further than noise does.
        #[test]
        fn damaged_pictures_never_panic(
            seed in 0..SEEDS.len(),
            damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        ) {
            let mut bytes = fs::read(golden(SEEDS[seed])).unwrap();
            for (at, value) in damage {
                let at = at.index(bytes.len());
                bytes[at] = value;
            }
            // Few pixels, so that a header that claims many costs no time.
            let limits = PictureLimits { pixels: 100_000, ..PictureLimits::default() };
            if let Ok(picture) = Picture::decode_with(&bytes, &limits) {
                prop_assert_eq!(picture.pixels().len(), 3 * picture.width() * picture.height());
            }
        }
    }
}

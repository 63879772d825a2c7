//! Picture files of every kind against what Pillow makes of them (`testdata/decoding`).
#![cfg(feature = "image")]

use std::fs;
use std::path::{Path, PathBuf};

use mnx::{Picture, PictureFormat, PictureLimits};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/decoding")
}

/// Width, height and bytes of a binary PPM, by its plain header.
fn ppm(path: &Path) -> (usize, usize, Vec<u8>) {
    let bytes = fs::read(path).unwrap();
    let mut parts = bytes.splitn(4, |byte| *byte == b'\n');
    assert_eq!(parts.next(), Some(&b"P6"[..]), "{}", path.display());
    let size = String::from_utf8(parts.next().unwrap().to_vec()).unwrap();
    let (width, height) = size.split_once(' ').unwrap();
    assert_eq!(parts.next(), Some(&b"255"[..]), "{}", path.display());
    (width.parse().unwrap(), height.parse().unwrap(), parts.next().unwrap().to_vec())
}

fn mean_difference(a: &[u8], b: &[u8]) -> f64 {
    let sum: u64 = a.iter().zip(b).map(|(a, b)| u64::from(a.abs_diff(*b))).sum();
    sum as f64 / a.len() as f64
}

#[test]
fn as_pillow() {
    let cases = fs::read_to_string(folder().join("cases.tsv")).unwrap();
    let (mut decoded, mut refused) = (0, 0);
    for line in cases.lines() {
        let [name, mean, expected] = line.split('\t').collect::<Vec<_>>()[..] else { panic!("three fields: {line}") };
        match (Picture::open(folder().join(name)), expected) {
            (Ok(picture), "pixels" | "pixels or refused") => {
                let (width, height, pixels) = ppm(&folder().join(format!("{name}.ppm")));
                assert_eq!((picture.width(), picture.height()), (width, height), "{name}");
                let difference = mean_difference(picture.pixels(), &pixels);
                assert!(difference <= mean.parse().unwrap(), "{name}: {difference} levels");
                decoded += 1;
            }
            (Ok(_), _) => panic!("{name}: expected a refusal ({expected}), found pixels"),
            (Err(error), "pixels") => panic!("{error}"),
            (Err(error), "pixels or refused") => {
                assert!(error.to_string().contains("damaged data"), "{error}");
                refused += 1;
            }
            (Err(error), words) => {
                assert!(error.to_string().contains(words), "{error}: without {words:?}");
                refused += 1;
            }
        }
    }
    assert!(decoded >= 80 && refused >= 30, "{decoded} decoded, {refused} refused");
}

/// Every file is told by its first bytes.
#[test]
fn told_by_content() {
    for entry in fs::read_dir(folder()).unwrap() {
        let path = entry.unwrap().path();
        let bytes = fs::read(&path).unwrap();
        let expected = match path.extension().and_then(|extension| extension.to_str()) {
            Some("jpg") => Some(PictureFormat::Jpeg),
            Some("png") => Some(PictureFormat::Png),
            Some("webp") => Some(PictureFormat::WebP),
            Some("gif") => Some(PictureFormat::Gif),
            Some("bmp") => Some(PictureFormat::Bmp),
            Some("tif") => Some(PictureFormat::Tiff),
            Some("ppm" | "pgm" | "pbm") => Some(PictureFormat::Pnm),
            _ => None,
        };
        let head = &bytes[..bytes.len().min(PictureFormat::BYTES)];
        assert_eq!(PictureFormat::of(head), expected, "{}", path.display());
    }
}

/// Every byte of a file of each kind, overwritten.
#[test]
fn damage_anywhere_never_panics() {
    // Few pixels, so that a header that claims many costs no time.
    let mut limits = PictureLimits::default();
    limits.pixels = 10_000;
    for name in [
        "420.jpg",
        "420-apart.jpg",
        "chroma-2x2.jpg",
        "420-progressive.jpg",
        "part.gif",
        "skipping-runs.bmp",
        "frame-blended.webp",
        "lzw.tif",
        "binary.ppm",
    ] {
        let whole = fs::read(folder().join(name)).unwrap();
        for at in 0..whole.len() {
            for value in [0x00, 0xFF, whole[at] ^ 0x10] {
                let mut bytes = whole.clone();
                bytes[at] = value;
                let _ = Picture::decode_with(&bytes, &limits);
            }
        }
    }
}

/// What is wrong is said by what it is.
#[test]
fn damage_is_named() {
    let message = |bytes: &[u8]| Picture::decode(bytes).unwrap_err().to_string();
    let whole = fs::read(folder().join("420-restart.jpg")).unwrap();
    let restart = whole.windows(2).position(|marker| marker == [0xFF, 0xD1]).unwrap();
    let mut misplaced = whole.clone();
    misplaced[restart + 1] = 0xD4;
    assert!(message(&misplaced).contains("damaged data (restart markers are missing or out of order)"));
    // Half of an interval is gone, its marker is not.
    let previous = whole.windows(2).position(|marker| marker == [0xFF, 0xD0]).unwrap();
    let mut short = whole.clone();
    short.drain((previous + restart) / 2..restart);
    assert!(message(&short).contains("damaged data (it ends before the picture does)"));
    // The same in a file that is not walked through: there the decoder runs into what stands after the data.
    let rocket = fs::read(folder().join("../pictures/rocket.jpg")).unwrap();
    let cut = [&rocket[..rocket.len() / 2], b"\xFF\xD9"].concat();
    assert!(message(&cut).contains("damaged data (Bad Huffman Code"), "{}", message(&cut));
}

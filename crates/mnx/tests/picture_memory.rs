//! Decoding takes no more memory than a picture's header says it will: the limit below which the same picture is refused.
#![cfg(feature = "image")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::fs;
use std::io::Cursor;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use image::{DynamicImage, ImageFormat, RgbImage};
use mnx::{Error, Picture, PictureLimits};

/// The system's allocator, counting bytes. A decoder may have threads, so all of the process count.
struct Counting;

static NOW: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);
/// From this size on an allocation is not counted: it only asks whether there is memory.
static PROBE: AtomicUsize = AtomicUsize::new(usize::MAX);

// SAFETY: passes everything on to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if layout.size() < PROBE.load(SeqCst) {
            PEAK.fetch_max(NOW.fetch_add(layout.size(), SeqCst) + layout.size(), SeqCst);
        }
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        if layout.size() < PROBE.load(SeqCst) {
            NOW.fetch_sub(layout.size(), SeqCst);
        }
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(ptr, layout) }
    }

    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // What shrinks stays where it is. What grows may be there twice.
        if size < PROBE.load(SeqCst) && layout.size() < PROBE.load(SeqCst) {
            let now = NOW.load(SeqCst) + if size > layout.size() { size } else { 0 };
            PEAK.fetch_max(now, SeqCst);
            NOW.fetch_add(size, SeqCst);
            NOW.fetch_sub(layout.size(), SeqCst);
        }
        // SAFETY: the caller's promise.
        unsafe { System.realloc(ptr, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Tests take turns: the counters are the process's.
static TURNS: Mutex<()> = Mutex::new(());

/// What decoding is limited by, and what it takes.
fn measure(bytes: &[u8]) -> (u64, u64) {
    let limits = |decoded_bytes| {
        let mut limits = PictureLimits::default();
        limits.decoded_bytes = decoded_bytes;
        limits
    };
    // A decoder may know a part of what it takes before it knows all.
    let mut claimed = 0;
    while let Err(error) = Picture::decode_with(bytes, &limits(claimed)) {
        let Error::PictureMemory { bytes, limit, .. } = error else { panic!("{error}") };
        assert!(limit == claimed && bytes > claimed, "{error}");
        claimed = bytes;
    }
    assert!(matches!(Picture::decode_with(bytes, &limits(claimed - 1)), Err(Error::PictureMemory { .. })));
    let before = NOW.load(SeqCst);
    PEAK.store(before, SeqCst);
    PROBE.store(usize::try_from(claimed).unwrap(), SeqCst);
    let picture = Picture::decode_with(bytes, &limits(claimed)).unwrap();
    PROBE.store(usize::MAX, SeqCst);
    let peak = PEAK.load(SeqCst) - before;
    drop(picture);
    (claimed, peak as u64)
}

/// Bytes of tables, which some decoders have beside what is counted.
const TABLES: u64 = 64 << 10;

/// Copies of the file that decoders make do not count.
fn check(name: &str, bytes: &[u8]) {
    let (claimed, peak) = measure(bytes);
    println!("{name}: {claimed} bytes expected, {peak} taken");
    assert!(peak <= claimed + 2 * bytes.len() as u64 + TABLES, "{name}: {claimed} bytes expected, {peak} taken");
}

fn noise(width: u32, height: u32) -> RgbImage {
    let mut state = 1_u32;
    RgbImage::from_fn(width, height, |x, y| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        image::Rgb([(x / 5) as u8, (y / 7) as u8, (state >> 30) as u8])
    })
}

#[test]
fn every_file_of_the_tests_stays_below_what_it_claims() {
    let _turn = TURNS.lock();
    let testdata = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata");
    let mut decoded = 0;
    for folder in ["pictures", "pictures-golden", "decoding"] {
        for entry in fs::read_dir(testdata.join(folder)).unwrap() {
            let path = entry.unwrap().path();
            let Ok(bytes) = fs::read(&path) else { continue };
            if Picture::decode(&bytes).is_ok() {
                check(&path.display().to_string(), &bytes);
                decoded += 1;
            }
        }
    }
    assert!(decoded > 250, "{decoded}");
}

/// Large enough that tables do not matter.
#[test]
fn large_pictures_of_every_kind_stay_below_what_they_claim() {
    let _turn = TURNS.lock();
    for (width, height) in [(1201, 903), (4, 20_000), (20_000, 3)] {
        let picture = DynamicImage::ImageRgb8(noise(width, height));
        let kinds = [
            ("rgb8", picture.clone()),
            ("rgba8", picture.to_rgba8().into()),
            ("rgb16", picture.to_rgb16().into()),
            ("rgba16", picture.to_rgba16().into()),
            ("grey8", picture.to_luma8().into()),
            ("grey16", picture.to_luma16().into()),
            ("grey-alpha8", picture.to_luma_alpha8().into()),
        ];
        for (kind, picture) in &kinds {
            let formats = [ImageFormat::Png, ImageFormat::Bmp, ImageFormat::Tiff, ImageFormat::Pnm, ImageFormat::WebP];
            for format in formats {
                if format == ImageFormat::WebP && width > 16_383 || height > 16_383 {
                    continue;
                }
                let mut bytes = Cursor::new(Vec::new());
                // Not every format takes every kind.
                if picture.write_to(&mut bytes, format).is_ok() && Picture::decode(bytes.get_ref()).is_ok() {
                    check(&format!("{format:?} {kind} {width} x {height}"), bytes.get_ref());
                }
            }
        }
    }
}

/// A black JPEG of any size, sampling and kind. Its codes are of one bit.
fn jpeg(width: u16, height: u16, sampling: &[(u8, u8)], progressive: bool, apart: bool) -> Vec<u8> {
    let coefficients: &[(u8, u8)] = if progressive { &[(1, 63)] } else { &[] };
    jpeg_of_scans(width, height, sampling, progressive, apart, coefficients)
}

/// The same with a scan for each channel and these ranges of coefficients.
fn jpeg_of_scans(
    width: u16,
    height: u16,
    sampling: &[(u8, u8)],
    progressive: bool,
    apart: bool,
    coefficients: &[(u8, u8)],
) -> Vec<u8> {
    let mut file = vec![0xFF, 0xD8];
    let segment = |file: &mut Vec<u8>, marker: u8, content: &[u8]| {
        file.extend([0xFF, marker]);
        file.extend((content.len() as u16 + 2).to_be_bytes());
        file.extend(content);
    };
    if sampling.len() == 4 {
        segment(&mut file, 0xEE, b"Adobe\0\x64\0\0\0\0\0");
    }
    segment(&mut file, 0xDB, &[&[0][..], &[1; 64]].concat());
    for table in [0x00, 0x10] {
        segment(&mut file, 0xC4, &[&[table, 1][..], &[0; 15], &[0]].concat());
    }
    let [[h, height_low], [w, width_low]] = [height.to_be_bytes(), width.to_be_bytes()];
    let mut frame = vec![8, h, height_low, w, width_low, sampling.len() as u8];
    for (id, (across, down)) in (1..).zip(sampling) {
        frame.extend([id, across << 4 | down, 0]);
    }
    segment(&mut file, if progressive { 0xC2 } else { 0xC1 }, &frame);
    let most = (sampling.iter().map(|s| s.0).max().unwrap(), sampling.iter().map(|s| s.1).max().unwrap());
    let all: Vec<usize> = (0..sampling.len()).collect();
    let each: Vec<Vec<usize>> = all.iter().map(|&channel| vec![channel]).collect();
    let mut scans: Vec<(Vec<usize>, u8, u8)> = Vec::new();
    let whole = if progressive { (0, 0) } else { (0, 63) };
    if apart {
        scans.extend(each.iter().map(|channels| (channels.clone(), whole.0, whole.1)));
    } else {
        scans.push((all, whole.0, whole.1));
    }
    for &(start, end) in coefficients {
        scans.extend(each.iter().map(|channels| (channels.clone(), start, end)));
    }
    for (channels, start, end) in scans {
        let mut header = vec![channels.len() as u8];
        channels.iter().for_each(|&channel| header.extend([channel as u8 + 1, 0]));
        header.extend([start, end, 0]);
        segment(&mut file, 0xDA, &header);
        let size = |pixels: u16, of: u8, most: u8| (usize::from(pixels) * usize::from(of)).div_ceil(usize::from(most));
        let blocks: usize = match channels[..] {
            [one] if sampling.len() > 1 => {
                let (across, down) = sampling[one];
                size(width, across, most.0).div_ceil(8) * size(height, down, most.1).div_ceil(8)
            }
            [_] => usize::from(width).div_ceil(8) * usize::from(height).div_ceil(8),
            _ => {
                let unit = (8 * usize::from(most.0), 8 * usize::from(most.1));
                let units = usize::from(width).div_ceil(unit.0) * usize::from(height).div_ceil(unit.1);
                units * channels.iter().map(|&c| usize::from(sampling[c].0) * usize::from(sampling[c].1)).sum::<usize>()
            }
        };
        let bits = blocks * if progressive { 1 } else { 2 };
        file.resize(file.len() + bits / 8, 0);
        if !bits.is_multiple_of(8) {
            file.push(0xFF >> (bits % 8));
        }
    }
    file.extend([0xFF, 0xD9]);
    file
}

#[test]
fn jpegs_of_every_kind_stay_below_what_they_claim() {
    let _turn = TURNS.lock();
    let kinds: [&[(u8, u8)]; 10] = [
        &[(1, 1)],
        &[(1, 1), (1, 1), (1, 1)],
        &[(2, 2), (1, 1), (1, 1)],
        &[(2, 1), (1, 1), (1, 1)],
        &[(1, 2), (1, 1), (1, 1)],
        &[(4, 1), (1, 1), (1, 1)],
        &[(4, 2), (1, 1), (1, 1)],
        &[(1, 1), (2, 2), (1, 1)],
        &[(3, 1), (1, 1), (1, 1)],
        &[(1, 1), (1, 1), (1, 1), (1, 1)],
    ];
    let mut decoded = 0;
    for (width, height) in [(1201, 903), (4, 20_000), (20_000, 3)] {
        for sampling in kinds {
            for (progressive, apart) in [(false, false), (false, true), (true, false), (true, true)] {
                let bytes = jpeg(width, height, sampling, progressive, apart);
                let name = format!("{width} x {height} {sampling:?} progressive {progressive}, apart {apart}");
                match Picture::decode(&bytes) {
                    Ok(_) => {
                        check(&name, &bytes);
                        decoded += 1;
                    }
                    Err(e) => println!("{name}: {e}"),
                }
            }
        }
    }
    assert!(decoded > 80, "{decoded}");
}

/// After each interval between restarts the decoder gets more bytes than the file has.
#[test]
fn restarts_are_part_of_what_is_claimed() {
    let _turn = TURNS.lock();
    let mut file = jpeg(4000, 4000, &[(1, 1)], false, false);
    let scan = file.windows(2).position(|bytes| bytes == [0xFF, 0xDA]).unwrap();
    let header = file.split_off(scan)[..10].to_vec();
    file.extend([0xFF, 0xDD, 0, 4, 0, 1]);
    file.extend(header);
    for unit in 0..500 * 500_u32 {
        if unit > 0 {
            file.extend([0xFF, 0xD0 + ((unit - 1) % 8) as u8]);
        }
        file.push(0x3F);
    }
    file.extend([0xFF, 0xD9]);
    check("a restart after each unit", &file);
}

/// A TIFF of one strip, which is this JPEG of YCbCr.
fn tiff(width: u32, height: u32, jpeg: &[u8]) -> Vec<u8> {
    let entries =
        [(256, width), (257, height), (259, 7), (262, 6), (273, 0), (277, 3), (278, height), (279, jpeg.len() as u32)];
    let data = 8 + 2 + 12 * entries.len() as u32 + 4;
    let mut file = b"II*\0\x08\0\0\0".to_vec();
    file.extend((entries.len() as u16).to_le_bytes());
    for (tag, value) in entries {
        file.extend([tag as u8, (tag >> 8) as u8, 4, 0, 1, 0, 0, 0]);
        file.extend((if tag == 273 { data } else { value }).to_le_bytes());
    }
    file.extend([0; 4]);
    file.extend(jpeg);
    file
}

#[test]
fn jpegs_inside_tiffs_stay_below_what_they_claim() {
    let _turn = TURNS.lock();
    for (width, height) in [(1201, 903), (4, 20_000), (20_000, 3)] {
        for sampling in [[(1, 1), (1, 1), (1, 1)], [(2, 2), (1, 1), (1, 1)]] {
            for (progressive, apart) in [(false, false), (false, true), (true, false)] {
                let bytes = tiff(width.into(), height.into(), &jpeg(width, height, &sampling, progressive, apart));
                check(
                    &format!("TIFF {width} x {height} {sampling:?} progressive {progressive}, apart {apart}"),
                    &bytes,
                );
            }
        }
    }
}

/// A scan takes few bytes and as much time as the picture is large.
#[test]
fn scans_are_limited() {
    let _turn = TURNS.lock();
    let each: Vec<(u8, u8)> = (1..64).map(|coefficient| (coefficient, coefficient)).collect();
    let began = std::time::Instant::now();
    let bytes = jpeg_of_scans(5000, 5000, &[(1, 1)], true, false, &each);
    let picture = Picture::decode(&bytes).unwrap();
    assert_eq!((picture.width(), picture.height()), (5000, 5000));
    println!("64 scans of 25 megapixels: {:?}", began.elapsed());
    assert!(began.elapsed().as_secs() < 30, "{:?}", began.elapsed());
    let error = Picture::decode(&jpeg_of_scans(500, 500, &[(1, 1); 3], true, false, &each)).unwrap_err();
    assert!(error.to_string().ends_with("found: more than 100 scans"), "{error}");
}

/// 35 bytes that claim as much as is allowed.
#[test]
fn the_largest_picture_takes_a_moment() {
    let _turn = TURNS.lock();
    let mut file = b"GIF89a".to_vec();
    file.extend([9400_u16, 9500].iter().flat_map(|side| side.to_le_bytes()));
    file.extend(b"\x80\0\0\0\0\0\xFF\xFF\xFF,\0\0\0\0\x01\0\x01\0\0\x02\x02\x44\x01\0;");
    let began = std::time::Instant::now();
    assert_eq!(Picture::decode(&file).unwrap().width(), 9400);
    println!("{} bytes of GIF for 89.3 megapixels: {:?}", file.len(), began.elapsed());
    assert!(began.elapsed().as_secs() < 30, "{:?}", began.elapsed());
}

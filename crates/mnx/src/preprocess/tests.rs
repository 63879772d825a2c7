use super::*;
use proptest::prelude::*;

fn spec(resize: usize) -> Preprocessing {
    Preprocessing::new(resize, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
}

#[test]
fn wrong_values_are_named() {
    let message = |resolution, spec: Preprocessing| Preprocessor::new(resolution, &spec).unwrap_err().to_string();
    assert_eq!(message(0, spec(4)), "preprocessing: expected `resolution` to be at least 1, found 0");
    let expected = "spec: expected `preprocessing.resize` to be at least the resolution, 224, found 223";
    assert_eq!(message(224, spec(223)), expected);
    assert!(message(224, spec(usize::MAX)).contains("`resize`"));
    assert!(message(usize::MAX, spec(usize::MAX)).contains("`resize`"));
    assert!(
        message(4, Preprocessing::new(4, [0.0, f32::NAN, 0.0], [1.0; 3])).contains("mean[1]` to be finite, found NaN")
    );
    for std in [0.0, -1.0, f32::INFINITY, f32::NAN] {
        let message = message(4, Preprocessing::new(4, [0.0; 3], [1.0, 1.0, std]));
        assert!(message.contains("std[2]` to be finite and above 0"), "{message}");
    }
}

#[test]
fn output_of_the_wrong_length() {
    let mut preprocessor = Preprocessor::new(4, &spec(5)).unwrap();
    let pixels = [0; 27];
    let frame = Frame::rgb8(&pixels, 3, 3, 9).unwrap();
    for length in [0, 47, 49] {
        let error = preprocessor.process_into(frame, &mut vec![0.0; length]).unwrap_err();
        assert!(matches!(error, Error::InputLength { expected: 48, found } if found == length));
    }
}

/// Each channel goes to its own plane with its own mean and deviation; a plain picture stays plain.
#[test]
fn planes_and_normalisation() {
    let pixels: Vec<u8> = [255u8, 128, 0].repeat(30 * 20);
    for resize in [16, 20] {
        let mut preprocessor = Preprocessor::new(16, &spec(resize)).unwrap();
        let output = preprocessor.process(Frame::rgb8(&pixels, 30, 20, 90).unwrap()).unwrap();
        let expected = [(1.0 - 0.485) / 0.229, (128.0f32 / 255.0 - 0.456) / 0.224, (0.0 - 0.406) / 0.225];
        for (plane, expected) in output.chunks_exact(256).zip(expected) {
            assert!(plane.iter().all(|&value| value == expected), "{expected} {plane:?}");
        }
    }
}

/// What a side would be resized to need not fit 32 bits.
#[test]
fn resized_sides_are_counted_in_64_bits() {
    let preprocessor = Preprocessor::new(224, &spec(256)).unwrap();
    for height in [1 << 24, (1 << 24) + 1] {
        let [across, down] = preprocessor.axes(1, height);
        assert_eq!((across.resized, down.resized), (256, 256 * height as u64));
        assert_eq!(down.offset, (256 * height as u64 - 224) / 2);
    }
}

/// Only what the crop keeps is computed: the whole would be 256 x 15 million pixels.
#[test]
fn the_thinnest_pictures() {
    let pixels: Vec<u8> = (0..60_000u32).flat_map(|i| [(i % 251) as u8; 3]).collect();
    let mut preprocessor = Preprocessor::new(224, &spec(256)).unwrap();
    let tall = preprocessor.process(Frame::rgb8(&pixels, 1, 60_000, 3).unwrap()).unwrap();
    let wide = preprocessor.process(Frame::rgb8(&pixels, 60_000, 1, 180_000).unwrap()).unwrap();
    // The middle pixels, 29,999 and 30,000, are 130 and 131; each is the transpose of the other.
    for y in 0..224 {
        for x in 0..224 {
            assert_eq!(tall[y * 224 + x], wide[x * 224 + y]);
        }
    }
    let byte = |value: f32| (value * 0.229 + 0.485) * 255.0;
    assert!((byte(wide[0]) - 130.0).abs() < 1.01 && (byte(wide[223]) - 131.0).abs() < 1.01);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    /// Any frame gives values of the range of bytes, whatever the sizes.
    #[test]
    fn any_frame(
        width in 1usize..70, height in 1usize..70, gap in 0usize..6, alpha: bool,
        resolution in 1usize..40, more in 0usize..10, seed: u8, squash: bool, interpolation in 0usize..3,
    ) {
        let bytes = if alpha { 4 } else { 3 };
        let stride = width * bytes + gap;
        let pixels: Vec<u8> = (0..stride * height).map(|i| (i as u8).wrapping_mul(seed)).collect();
        let make = if alpha { Frame::rgba8 } else { Frame::rgb8 };
        let mut spec = Preprocessing::new(resolution + more, [0.0; 3], [1.0; 3]);
        spec.fit = if squash { Fit::Squash } else { Fit::Crop };
        let all = [Interpolation::BilinearAntialiased, Interpolation::Bilinear, Interpolation::Bicubic];
        spec.interpolation = all[interpolation];
        let mut preprocessor = Preprocessor::new(resolution, &spec).unwrap();
        let output = preprocessor.process(make(&pixels, width, height, stride).unwrap()).unwrap();
        prop_assert_eq!(output.len(), 3 * resolution * resolution);
        prop_assert!(output.iter().all(|value| (0.0..=1.0).contains(value)));
    }
}

/// Every layout of pixels gives what the same colours give as RGB, resized by each rule, cropped, and as they are.
#[test]
fn layouts_of_the_same_colours() {
    let (width, height) = (37_usize, 53_usize);
    let rgb: Vec<u8> = (0..width * height * 3).map(|i| ((i as u32).wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let grey: Vec<u8> = rgb.chunks(3).map(|pixel| pixel[1]).collect();
    let of = |pixels: &[u8], write: &dyn Fn(&[u8]) -> Vec<u8>| pixels.chunks(3).flat_map(write).collect::<Vec<u8>>();
    let grey_rgb: Vec<u8> = grey.iter().flat_map(|&grey| [grey; 3]).collect();
    let (bgr, bgra) = (of(&rgb, &|p| vec![p[2], p[1], p[0]]), of(&rgb, &|p| vec![p[2], p[1], p[0], 99]));
    let rgba = of(&rgb, &|p| vec![p[0], p[1], p[2], 99]);
    let chroma = vec![128; width.div_ceil(2) * 2 * height.div_ceil(2)];
    let chroma_stride = width.div_ceil(2) * 2;
    let full = crate::Yuv::Bt709Full;
    let pairs = [
        (&rgb, Frame::bgr8(&bgr, width, height, 3 * width)),
        (&rgb, Frame::bgra8(&bgra, width, height, 4 * width)),
        (&rgb, Frame::rgba8(&rgba, width, height, 4 * width)),
        (&grey_rgb, Frame::grey8(&grey, width, height, width)),
        (&grey_rgb, Frame::nv12([&grey, &chroma], width, height, [width, chroma_stride], full)),
    ];
    let interpolations = [Interpolation::BilinearAntialiased, Interpolation::Bilinear, Interpolation::Bicubic];
    for (interpolation, fit) in interpolations.into_iter().flat_map(|i| [(i, Fit::Squash), (i, Fit::default())]) {
        // Resized and cropped, made larger, and neither.
        for (resize, resolution) in [(20, 16), (64, 60), (37, 30)] {
            let mut spec = spec(resize);
            (spec.interpolation, spec.fit) = (interpolation, fit);
            let mut preprocessor = Preprocessor::new(resolution, &spec).unwrap();
            for (same, frame) in &pairs {
                let frame = *frame.as_ref().unwrap();
                let expected = preprocessor.process(Frame::rgb8(same, width, height, 3 * width).unwrap()).unwrap();
                assert_eq!(preprocessor.process(frame).unwrap(), expected, "{frame:?}, {interpolation:?}, {resize}");
            }
        }
    }
}

#[test]
fn planes_of_chroma_are_checked() {
    let wrong = |chroma: usize, stride: usize| {
        let chroma = vec![0; chroma];
        let result = Frame::nv12([&[0; 15], &chroma], 5, 3, [5, stride], crate::Yuv::Bt601);
        result.map(|_| ()).map_err(|error| error.to_string())
    };
    assert_eq!(wrong(12, 6), Ok(()));
    assert_eq!(wrong(12, 5), Err("raw frame: expected a stride of chroma of at least 3 x 2 bytes, found 5".into()));
    let short = "raw frame: expected 2 rows of chroma of 6 bytes, 6 bytes apart, found 11 bytes";
    assert_eq!(wrong(11, 6), Err(short.into()));
    let luma = Frame::nv12([&[0; 14], &[0; 12]], 5, 3, [5, 6], crate::Yuv::Bt601).unwrap_err().to_string();
    assert_eq!(luma, "raw frame: expected 3 rows of luma of 5 bytes, 5 bytes apart, found 14 bytes");
}

use super::*;
use proptest::prelude::*;

fn spec(resize: usize) -> Preprocessing {
    Preprocessing::new(resize, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
}

#[test]
fn wrong_values_are_named() {
    let message = |resolution, spec: Preprocessing| Preprocessor::new(resolution, &spec).unwrap_err().to_string();
    assert_eq!(message(0, spec(4)), "preprocessing: expected `resolution` to be at least 1, found 0");
    let expected = "preprocessing: expected `resize` to be from the resolution, 224, to 26754, found 223";
    assert_eq!(message(224, spec(223)), expected);
    assert!(message(224, spec(usize::MAX)).contains("`resize`"));
    assert!(message(usize::MAX, spec(usize::MAX)).contains("`resize`"));
    assert!(
        message(4, Preprocessing::new(4, [0.0, f32::NAN, 0.0], [1.0; 3])).contains("`mean` to be finite, found NaN")
    );
    for std in [0.0, -1.0, f32::INFINITY, f32::NAN] {
        let message = message(4, Preprocessing::new(4, [0.0; 3], [1.0, 1.0, std]));
        assert!(message.contains("`std` to be finite and above 0"), "{message}");
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

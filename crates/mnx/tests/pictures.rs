//! Picture files against what torchvision makes of them (`testdata/pictures-golden`).
#![cfg(feature = "image")]

use std::fs;
use std::path::{Path, PathBuf};

use mnx::{Frame, Picture, Preprocessing, Preprocessor};

fn testdata() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata")
}

/// One line of `cases.tsv`.
struct Case {
    picture: PathBuf,
    expected: Vec<f32>,
    resolution: usize,
    preprocessing: Preprocessing,
    /// In units of a byte.
    tolerance: f32,
}

impl Case {
    fn parse(line: &str) -> Self {
        let folder = testdata().join("pictures-golden");
        let fields: Vec<&str> = line.split('\t').collect();
        let &[picture, expected, resolution, resize, tolerance, mean, std, fit, interpolation] = fields.as_slice()
        else {
            panic!("nine fields: {line}");
        };
        let three = |text: &str| -> [f32; 3] {
            let values: Vec<f32> = text.split(',').map(|value| value.parse().unwrap()).collect();
            values.try_into().unwrap()
        };
        let mut preprocessing = Preprocessing::new(resize.parse().unwrap(), three(mean), three(std));
        preprocessing.fit = serde_json::from_value(fit.into()).unwrap();
        preprocessing.interpolation = serde_json::from_value(interpolation.into()).unwrap();
        let tensor = npyz::NpyFile::new(fs::File::open(folder.join(expected)).unwrap()).unwrap();
        let resolution: usize = resolution.parse().unwrap();
        assert_eq!(tensor.shape(), [3, resolution as u64, resolution as u64]);
        Case {
            picture: folder.join(picture),
            expected: tensor.into_vec().unwrap(),
            resolution,
            preprocessing,
            tolerance: tolerance.parse().unwrap(),
        }
    }

    /// Fails where a byte is off by more than the tolerance, or an exact value in its last bit.
    fn check(&self, found: &[f32], what: &str) {
        let name = self.picture.display();
        assert_eq!(found.len(), self.expected.len(), "{name}");
        let plane = self.resolution * self.resolution;
        for (i, (&found, &expected)) in found.iter().zip(&self.expected).enumerate() {
            let bytes = (found - expected).abs() * self.preprocessing.std[i / plane] * 255.0;
            let fine = if self.tolerance == 0.0 { found == expected } else { bytes <= self.tolerance + 1e-3 };
            assert!(fine, "{name}, {what}, element {i}: expected {expected}, found {found} ({bytes} in 255)");
        }
    }
}

fn cases() -> Vec<Case> {
    let text = fs::read_to_string(testdata().join("pictures-golden/cases.tsv")).unwrap();
    let cases: Vec<Case> = text.lines().map(Case::parse).collect();
    assert!(cases.len() >= 65, "only {} cases", cases.len());
    cases
}

#[test]
fn as_torchvision() {
    for case in cases() {
        let mut preprocessor = Preprocessor::new(case.resolution, &case.preprocessing).unwrap();
        let picture = Picture::open(&case.picture).unwrap();
        case.check(&preprocessor.process(&picture).unwrap(), "decoded");
    }
}

/// The pixels of every picture again as frames: with alpha, with gaps between the rows, and all
/// through one preprocessor for each network, whose buffers then hold what others left.
#[test]
fn frames_as_decoded_pictures() {
    let cases = cases();
    let mut preprocessors: Vec<(usize, Preprocessing, Preprocessor)> = Vec::new();
    for case in &cases {
        let key = (case.resolution, case.preprocessing.clone());
        if !preprocessors.iter().any(|(resolution, spec, _)| (*resolution, spec) == (key.0, &key.1)) {
            let preprocessor = Preprocessor::new(key.0, &key.1).unwrap();
            preprocessors.push((key.0, key.1, preprocessor));
        }
        let find =
            preprocessors.iter_mut().find(|(res, spec, _)| *res == case.resolution && *spec == case.preprocessing);
        let preprocessor = &mut find.unwrap().2;
        let picture = Picture::open(&case.picture).unwrap();
        let (width, height) = (picture.width(), picture.height());
        for (bytes, gap) in [(3, 0), (3, 5), (4, 0), (4, 3)] {
            let stride = width * bytes + gap;
            let mut pixels = vec![0xA5; stride * height];
            for (row, source) in pixels.chunks_exact_mut(stride).zip(picture.pixels().chunks_exact(3 * width)) {
                for (pixel, source) in row.chunks_exact_mut(bytes).zip(source.chunks_exact(3)) {
                    pixel[..3].copy_from_slice(source);
                }
            }
            // The last row ends with its last pixel.
            pixels.truncate(stride * height - gap);
            let make = if bytes == 3 { Frame::rgb8 } else { Frame::rgba8 };
            let frame = make(&pixels, width, height, stride).unwrap();
            // A buffer that holds something else already.
            let mut output = vec![f32::NAN; preprocessor.elements()];
            preprocessor.process_into(frame, &mut output).unwrap();
            case.check(&output, &format!("{bytes} bytes a pixel, gap {gap}"));
        }
    }
}

/// The committed pictures are read as what they are.
#[test]
fn committed_pictures() {
    for (name, width, height) in [("chelsea.png", 451, 300), ("rocket.jpg", 640, 427)] {
        let picture = Picture::open(testdata().join("pictures").join(name)).unwrap();
        assert_eq!((picture.width(), picture.height()), (width, height), "{name}");
    }
}

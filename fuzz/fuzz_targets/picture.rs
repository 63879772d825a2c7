//! Decodes arbitrary bytes as a picture of any format, and prepares it for a network.
#![no_main]

use std::cell::RefCell;

use libfuzzer_sys::fuzz_target;
use mnx::{Fit, Interpolation, Picture, PictureLimits, Preprocessing, Preprocessor};

/// Pixels that a picture may have: an execution takes some milliseconds at most.
const PIXELS: u64 = 1 << 16;

thread_local! {
    static PREPARED: RefCell<[Preprocessor; 2]> = RefCell::new(
        [(Fit::Crop, Interpolation::BilinearAntialiased), (Fit::Squash, Interpolation::Bicubic)].map(|(fit, interpolation)| {
            let mut preprocessing = Preprocessing::new(9, [0.5; 3], [0.25; 3]);
            (preprocessing.fit, preprocessing.interpolation) = (fit, interpolation);
            Preprocessor::new(8, &preprocessing).expect("sizes in their range")
        })
    );
}

fuzz_target!(|bytes: &[u8]| {
    let mut limits = PictureLimits::default();
    limits.pixels = PIXELS;
    let picture = match Picture::decode_with(bytes, &limits) {
        Ok(picture) => picture,
        Err(error) => return mnx_fuzz::assert_one_line(&error.to_string()),
    };
    let (width, height) = (picture.width(), picture.height());
    assert!(width > 0 && height > 0 && (width * height) as u64 <= PIXELS, "{picture:?}");
    assert_eq!(picture.pixels().len(), 3 * width * height);
    PREPARED.with_borrow_mut(|all| {
        for prepared in all {
            let values = prepared.process(&picture).expect("every picture can be prepared");
            assert!(values.iter().all(|value| (-2.0..=2.0).contains(value)), "{values:?}");
        }
    });
});

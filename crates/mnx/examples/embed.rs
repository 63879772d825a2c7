//! A program with its model inside: nothing to install beside it, nothing to read at start. None of the cargo features
//! is needed, so `mnx` can be a dependency with `default-features = false`.
//!
//! ```sh
//! cargo run --release -p mobilenext --example embed
//! ```

use std::process::ExitCode;

use mnx::{Classifier, Error, Frame, Model, include_model};

/// 2.6 MB, aligned: the weights are used where they lie in the program.
static MOBILENEXT: &[u8] = include_model!("../../mnx-infer/model/mobilenext-0.35-cifar10.mnx");

fn main() -> ExitCode {
    match classify() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn classify() -> Result<(), Error> {
    let model = Model::from_bytes(MOBILENEXT)?;
    let mut classifier = Classifier::new(&model)?;

    // Cameras and video decoders hand over rows that lie `stride` bytes apart, more than their pixels need.
    let (width, height, stride) = (160, 120, 512);
    let pixels = ship(width, height, stride);
    let frame = Frame::rgb8(&pixels, width, height, stride)?;

    println!("a drawing of a ship, {width} x {height}:");
    for found in classifier.classify(frame, 3)? {
        println!("{:>5.1} %  {}", found.probability * 100.0, found.label.as_deref().unwrap_or("?"));
    }
    Ok(())
}

/// Sky, sea, a dark hull and a white superstructure.
fn ship(width: usize, height: usize, stride: usize) -> Vec<u8> {
    let mut pixels = vec![0; stride * height];
    for (y, row) in pixels.chunks_exact_mut(stride).enumerate() {
        for (x, pixel) in row[..3 * width].chunks_exact_mut(3).enumerate() {
            // From 0 at the left and the top to 1.
            let (x, y) = (x as f32 / width as f32, y as f32 / height as f32);
            let hull = (0.52..0.7).contains(&y) && x > 0.05 + (y - 0.52) * 0.6 && x < 0.95 - (y - 0.52) * 0.9;
            let house = (0.34..0.52).contains(&y) && (0.2..0.55).contains(&x);
            let funnel = (0.2..0.34).contains(&y) && (0.3..0.4).contains(&x);
            let colour = match () {
                () if hull => [40, 45, 60],
                () if house => [235, 235, 230],
                () if funnel => [180, 50, 40],
                () if y > 0.64 => [30, 80, 130],
                () => [150, 190, 225],
            };
            pixel.copy_from_slice(&colour);
        }
    }
    pixels
}

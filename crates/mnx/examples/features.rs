//! How alike two pictures are: the cosine of the angle between the features that the classifier would see.
//!
//! ```sh
//! cargo run --release -p mobilenext --features image --example features -- \
//!     crates/mnx-infer/model/mobilenext-0.35-cifar10.mnx testdata/pictures/chelsea.png testdata/pictures/rocket.jpg
//! ```

use std::process::ExitCode;

use mnx::{Error, Model, Picture, Preprocessor, Session, Tensor};

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    let [model, first, second] = &arguments[..] else {
        eprintln!("usage: features MODEL.mnx PICTURE PICTURE");
        return ExitCode::from(2);
    };
    match similarity(model.as_ref(), [first.as_ref(), second.as_ref()]) {
        Ok(cosine) => println!("cosine similarity: {cosine:.3}"),
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

fn similarity(model: &std::path::Path, pictures: [&std::path::Path; 2]) -> Result<f32, Error> {
    let model = Model::open(model)?;
    let spec = model.spec();
    let mut preprocessor = Preprocessor::new(spec.resolution, &spec.preprocessing)?;

    // Both pictures are one batch, `[2, 3, H, W]`.
    let mut batch = Tensor::zeros([2, 3, spec.resolution, spec.resolution]).map_err(mnx::GraphError::from)?;
    for (path, input) in pictures.iter().zip(batch.data_mut().chunks_exact_mut(preprocessor.elements())) {
        preprocessor.process_into(&Picture::open(path)?, input)?;
    }

    // `[2, C, 1, 1]`: the average of each channel of the last layer. The classifier does not run.
    let mut session = Session::new(&model)?;
    let features = session.features(batch.view())?;
    let (a, b) = (features.picture(0), features.picture(1));
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
    Ok(dot(a, b) / (dot(a, a) * dot(b, b)).sqrt())
}

//! Pictures in, labels out.
//!
//! ```sh
//! cargo run --release -p mobilenext --features image --example classify -- \
//!     crates/mnx-infer/model/mobilenext-0.35-cifar10.mnx testdata/pictures/chelsea.png testdata/pictures/rocket.jpg
//! ```

use std::process::ExitCode;

use mnx::{Classifier, Error, Model, Picture};

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let (Some(model), pictures) = (arguments.next(), arguments.collect::<Vec<_>>()) else {
        eprintln!("usage: classify MODEL.mnx PICTURE…");
        return ExitCode::from(2);
    };
    match classify(model.as_ref(), &pictures) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn classify(model: &std::path::Path, pictures: &[std::ffi::OsString]) -> Result<(), Error> {
    let model = Model::open(model)?;
    // Owns the memory of an inference; the second picture allocates next to nothing.
    let mut classifier = Classifier::new(&model)?;
    for path in pictures {
        let picture = Picture::open(path)?;
        println!("{}, {} x {}", path.display(), picture.width(), picture.height());
        for found in classifier.classify(&picture, 3)? {
            // A model without names has indices all the same.
            let name = found.label.map_or_else(|| format!("class {}", found.index), |label| label.to_string());
            println!("{:>7.1} %  {name}", found.probability * 100.0);
        }
    }
    Ok(())
}

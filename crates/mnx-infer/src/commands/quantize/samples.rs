//! What a network is calibrated with: pictures of a folder, or rows of an array.

use std::path::{Path, PathBuf};

use mnx::{GraphError, Model, PictureFormat, Preprocessor, QuantizeError, Tensor, TensorView};

use crate::args::Quantize;
use crate::context::Context;
use crate::error::Error;
use crate::json_path::Unreadable;
use crate::npy::NpyInput;
use crate::output::start_of;
use crate::pictures::{self, Entry};
use crate::pipeline::in_order;
use crate::progress;
use crate::stdout;

/// Evenly spaced samples, in the order of their files or rows.
pub(super) struct Samples {
    samples: Vec<Sample>,
    source: Source,
}

enum Source {
    Pictures,
    Array { path: PathBuf, inputs: Tensor },
}

/// One picture, or one row of an array.
struct Sample {
    entry: Entry,
    row: usize,
}

impl AsRef<Entry> for Sample {
    fn as_ref(&self) -> &Entry {
        &self.entry
    }
}

/// Why a sample gave nothing.
enum Trouble {
    /// The picture cannot be read; the others are not concerned.
    Unreadable(Error),
    /// Nothing can be calibrated.
    Fatal(GraphError),
}

impl Samples {
    /// At most `--samples` of what `--calibrate` names.
    ///
    /// # Errors
    /// [`Error::File`] for a folder without pictures and an array that the network does not take.
    pub(super) fn find(args: &Quantize, model: &Model) -> Result<Samples, Error> {
        if args.calibrate.is_dir() {
            let entries = pictures::expand(std::slice::from_ref(&args.calibrate), stdout::note)?;
            // A folder without a picture is one entry with that trouble.
            if let [Entry { path, trouble: Some(trouble) }] = &entries[..]
                && *path == args.calibrate
            {
                return Err(Error::failed(trouble));
            }
            let mut entries: Vec<_> = entries.into_iter().map(Some).collect();
            let taken = evenly_spaced(entries.len(), args.samples).filter_map(|i| entries[i].take());
            let samples = taken.map(|entry| Sample { entry, row: 0 }).collect();
            return Ok(Samples { samples, source: Source::Pictures });
        }
        let start = start_of(&args.calibrate, PictureFormat::BYTES);
        if let Some(format) = start.and_then(|start| PictureFormat::of(&start)) {
            let found = format!("a {} picture", format.name());
            return Err(Error::expected(&args.calibrate, "a folder of pictures or a .npy file", found));
        }
        let input = NpyInput::open(&args.calibrate, model.spec().channels, model.limits().arena_bytes)?;
        let path = input.path().to_owned();
        let inputs = input.read()?;
        let rows = evenly_spaced(inputs.shape()[0], args.samples);
        let samples = rows.map(|row| Sample { entry: Entry::new(&path), row }).collect();
        Ok(Samples { samples, source: Source::Array { path, inputs } })
    }

    /// The files that are read.
    pub(super) fn files(&self) -> impl Iterator<Item = &Path> {
        self.samples.iter().map(|sample| &*sample.entry.path)
    }

    /// Calls `observe` with each sample as the network's input, on as many threads as there are to be, each with its own
    /// `worker`. `absorb` gets the results in the order of the samples. There is a bar on standard error.
    ///
    /// Returns the pictures that cannot be read.
    ///
    /// # Errors
    /// [`Error::File`] for what is wrong with an array, [`Error::Failed`] for all else that ends the work.
    pub(super) fn run<W: Send, P: Send>(
        &self,
        model: &Model,
        context: &Context,
        worker: impl Fn() -> Result<W, GraphError>,
        observe: impl Fn(&mut W, TensorView<'_>) -> Result<P, GraphError> + Sync,
        mut absorb: impl FnMut(P) -> Result<(), GraphError>,
    ) -> Result<Vec<Unreadable>, Error> {
        let spec = model.spec();
        let preprocessor = || Preprocessor::new(spec.resolution, &spec.preprocessing).map_err(Error::with_causes);
        let worker = || Ok((worker().map_err(Error::with_causes)?, preprocessor()?, Vec::new()));
        let threads = context.threads().min(self.samples.len()).max(1);
        let workers = (0..threads).map(|_| worker()).collect::<Result<Vec<_>, Error>>()?;
        let work = |(worker, preprocessor, buffer): &mut (W, Preprocessor, Vec<f32>), sample: &Sample| {
            let input = match self.input(sample, context, preprocessor, buffer) {
                Ok(input) => input,
                Err(e) => return Ok(Err(Trouble::Unreadable(e))),
            };
            Ok(observe(worker, input).map_err(Trouble::Fatal))
        };
        let progress = progress::pictures(self.samples.len());
        let mut unreadable = Vec::new();
        let ran = in_order(&self.samples, workers, work, |sample, done| {
            progress.inc(1);
            match done? {
                Ok(part) => absorb(part).map_err(Error::with_causes)?,
                Err(Trouble::Unreadable(e)) => unreadable.push(Unreadable::new(&sample.entry.path, &e.to_string())),
                Err(Trouble::Fatal(e)) => return Err(self.fatal(sample, e)),
            }
            Ok(())
        });
        progress.finish_and_clear();
        ran.map(|()| unreadable)
    }

    /// The network's input for a sample.
    fn input<'a>(
        &'a self,
        sample: &Sample,
        context: &Context,
        preprocessor: &mut Preprocessor,
        buffer: &'a mut Vec<f32>,
    ) -> Result<TensorView<'a>, Error> {
        let (shape, values) = match &self.source {
            Source::Array { inputs, .. } => {
                let [_, channels, height, width] = inputs.shape();
                ([1, channels, height, width], inputs.view().picture(sample.row))
            }
            Source::Pictures => {
                let picture = sample.entry.open(context.pictures())?;
                buffer.resize(preprocessor.elements(), 0.0);
                preprocessor.process_into(&picture, buffer).map_err(|e| Error::file(&sample.entry.path, e))?;
                let side = preprocessor.resolution();
                ([1, 3, side, side], &buffer[..])
            }
        };
        TensorView::new(shape, values).map_err(|e| Error::file(&sample.entry.path, e))
    }

    /// What ends the work, with the file and the place in it.
    fn fatal(&self, sample: &Sample, error: GraphError) -> Error {
        let GraphError::Quantize(QuantizeError::NotFinite { value, index, found, .. }) = &error else {
            return Error::file(&sample.entry.path, error);
        };
        match &self.source {
            Source::Array { path, inputs } if value == "input" => {
                let [_, _, height, width] = inputs.shape();
                let (plane, row) = (index / (height * width), index / width % height);
                let place = format!("[{}, {plane}, {row}, {}]", sample.row, index % width);
                Error::expected(path, "finite numbers", format_args!("{found} at {place}"))
            }
            Source::Array { path, .. } => {
                let row = sample.row;
                Error::expected(path, "finite activations", format_args!("{found} in {value} for row {row}"))
            }
            Source::Pictures => {
                Error::expected(&sample.entry.path, "finite activations", format_args!("{found} in {value}"))
            }
        }
    }
}

/// At most `most` of `count` indices, evenly spaced, the first included.
fn evenly_spaced(count: usize, most: usize) -> impl Iterator<Item = usize> {
    let taken = count.min(most);
    (0..taken).map(move |i| (i as u128 * count as u128 / taken as u128) as usize)
}

#[cfg(test)]
mod tests {
    use super::evenly_spaced;

    #[test]
    fn samples_are_spread_over_all() {
        let of = |count, most| evenly_spaced(count, most).collect::<Vec<_>>();
        assert_eq!(of(3, 5), [0, 1, 2]);
        assert_eq!(of(10, 4), [0, 2, 5, 7]);
        assert_eq!(of(10, 1), [0]);
        assert_eq!(of(0, 4), [0; 0]);
    }
}

//! `quantize`: an int8 weight file of an f32 one and pictures.

mod plot;
mod report;
mod samples;

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hasher};

use mnx::quantize::{Calibration, Comparison, FEW_PICTURES, Method, Options, Quantized, quantize};
use mnx::{GraphError, Model, Network, QuantizeError, Session};

use crate::args::{MethodChoice, Quantize, Switch};
use crate::context::Context;
use crate::error::{Error, printable, shown};
use crate::json_path::Unreadable;
use crate::output::{OutputFile, check_apart, is_one_place};
use crate::source::Source;
use crate::stdout;
use crate::words::{counted, grouped};
use report::Report;
use samples::Samples;

pub(crate) fn run(args: &Quantize, context: &Context) -> Result<(), Error> {
    let source = Source::new(&args.weights)?;
    let model = open_f32(&source)?;
    let options = options(args);
    options.kept(model.network()).map_err(|e| refused_names(model.network(), &e))?;
    let samples = Samples::find(args, &model)?;
    for output in [Some(&args.output), args.plot.as_ref()].into_iter().flatten() {
        check_apart(output, source.file().into_iter().chain(samples.files()))?;
    }
    if let Some(plot) = args.plot.as_ref().filter(|plot| is_one_place(plot, &args.output)) {
        return Err(Error::Usage(format!(
            "--plot: expected another file than --output, found {} as both",
            shown(plot)
        )));
    }
    let output = OutputFile::create(&args.output)?;
    let plot = args.plot.as_deref().map(OutputFile::create).transpose()?;

    let (calibration, distinct, unreadable) = calibrate(args, &source, &model, &samples, context)?;
    let warnings = warnings(&calibration, distinct);
    warnings.iter().for_each(|warning| stdout::note(format_args!("{}: {warning}", shown(&args.calibrate))));
    let mut quantized = quantize(&model, &calibration, &options).map_err(|e| match e {
        // Numbers of the pictures, not of the weights.
        GraphError::Quantize(QuantizeError::TooLarge { .. }) => Error::file(&args.calibrate, e),
        e => source.error(e),
    })?;
    let measured = args.report || args.plot.is_some();
    let comparison = measured.then(|| compare(&model, &quantized, &samples, context)).transpose()?;
    if let Some(comparison) = &comparison {
        quantized.measured(comparison);
    }
    let report = Report::new(args, &model, &options, &calibration, &quantized, comparison.as_ref())
        .with_troubles(unreadable, warnings);
    write(output, &quantized.file)?;
    if let Some(file) = plot {
        write(file, plot::draw(&report).as_bytes())?;
    }
    if context.is_json() { stdout::print_json(&report) } else { stdout::print(&report.text(args)) }
}

fn write(mut output: OutputFile, bytes: &[u8]) -> Result<(), Error> {
    output.write(bytes)?;
    output.finish()
}

/// Opens the weights, which must be f32.
fn open_f32(source: &Source) -> Result<Model, Error> {
    let model = source.read()?;
    Calibration::new(&model).map_err(|e| source.error(e))?;
    Ok(model)
}

fn options(args: &Quantize) -> Options {
    let mut options = Options::new().keep(args.keep.iter().map(String::as_str));
    if let Some(method) = args.method {
        options.method = match method {
            MethodChoice::Minmax => Method::MinMax,
            MethodChoice::Percentile => Method::PERCENTILE,
            MethodChoice::Mse => Method::Mse,
        };
    }
    if let Some(switch) = args.bias_correction {
        options.bias_correction = switch == Switch::On;
    }
    options
}

/// That `--keep` cannot be followed, with what was meant.
fn refused_names(network: &Network, error: &GraphError) -> Error {
    /// From this similarity on, a name is taken for a misspelt one.
    const SIMILAR: f64 = 0.85;
    let GraphError::Quantize(QuantizeError::Keep { name }) = error else {
        return Error::Usage(format!("--{error}"));
    };
    let blocks = network.blocks.iter().map(|block| &*block.name);
    let names = blocks.chain(network.layers().map(|layer| &*layer.name)).chain(["classifier"]);
    let similar = |known: &str| strsim::jaro_winkler(known, name);
    // Patterns are not known, but what all names begin with is.
    let stem = name.trim_end_matches(['*', '.']);
    if stem != name && Options::new().keep([stem]).kept(network).is_ok() {
        let name = printable(name);
        let expected = "--keep: expected names of layers or blocks of this network";
        return Error::Usage(format!("{expected}, found {name}: did you mean {stem}?"));
    }
    let nearest = names.max_by(|a, b| similar(a).total_cmp(&similar(b))).filter(|known| similar(known) >= SIMILAR);
    let known = match nearest {
        Some(nearest) => format!("did you mean {nearest}?"),
        None => {
            let first = network.blocks.first().map_or("", |block| &block.name);
            let last = network.blocks.last().map_or("", |block| &block.name);
            // The classifier, or a detector's last head.
            let end = network.layers().last().map_or("", |layer| &layer.name);
            format!("they begin with {first} to {last} or {end}, see mnx-infer inspect")
        }
    };
    let name = printable(name);
    Error::Usage(format!("--keep: expected names of layers or blocks of this network, found {name}: {known}"))
}

/// What makes the ranges doubtful.
fn warnings(calibration: &Calibration, distinct: u64) -> Vec<String> {
    let (pictures, uniform) = (calibration.pictures(), calibration.uniform_pictures());
    let mut warnings = Vec::new();
    let advice = "ranges depend on chance, some hundred of all classes are better";
    // Some pictures more than once do no harm.
    if 4 * distinct < pictures {
        let only = counted(distinct as usize, "different picture", "different pictures");
        let only = format!("only {only} among {}", grouped(pictures));
        warnings.push(format!("warning: {only} to calibrate with: {advice}"));
    } else if pictures < FEW_PICTURES {
        let only = counted(pictures as usize, "picture", "pictures");
        warnings.push(format!("warning: only {only} to calibrate with: {advice}"));
    }
    if uniform == pictures {
        let all = if pictures == 1 { "the picture is" } else { "all pictures are" };
        warnings.push(format!("warning: {all} of one colour: ranges will be far too narrow for others"));
    } else if 2 * uniform > pictures {
        warnings.push(format!("warning: {uniform} of {pictures} pictures are of one colour, which says little"));
    }
    warnings
}

/// Runs the samples through the f32 network. Also returns how many of them differ, and what is wrong with those that cannot be read.
fn calibrate(
    args: &Quantize,
    source: &Source,
    model: &Model,
    samples: &Samples,
    context: &Context,
) -> Result<(Calibration, u64, Vec<Unreadable>), Error> {
    let mut calibration = Calibration::new(model).map_err(|e| source.error(e))?;
    let session = || Session::with(model, context.lone_options());
    let observe = |session: &mut Session, input: mnx::TensorView<'_>| {
        let mut part = Calibration::new(model)?;
        part.observe(session, input)?;
        Ok((part, fingerprint(input.data())))
    };
    let mut seen = HashSet::new();
    let unreadable = samples.run(model, context, session, observe, |(part, picture)| {
        seen.insert(picture);
        calibration.merge(&part)
    })?;
    for file in &unreadable {
        stdout::note(&file.error);
    }
    if calibration.pictures() == 0 {
        let found = match &unreadable[..] {
            [only] => only.error.clone(),
            all => format!("none among {}", all.len()),
        };
        return Err(Error::expected(&args.calibrate, "pictures that can be read", found));
    }
    Ok((calibration, seen.len() as u64, unreadable))
}

/// A number that pictures hardly share.
fn fingerprint(pixels: &[f32]) -> u64 {
    let mut hasher = DefaultHasher::new();
    pixels.iter().for_each(|pixel| hasher.write_u32(pixel.to_bits()));
    hasher.finish()
}

/// Runs the samples through both networks.
fn compare(model: &Model, quantized: &Quantized, samples: &Samples, context: &Context) -> Result<Comparison, Error> {
    let int8 = Model::from_bytes(quantized.file.clone());
    let int8 = int8.map_err(|e| Error::failed(format_args!("the quantised network: {e}")))?;
    let mut comparison = Comparison::new();
    let sessions = || {
        let session = |model| Session::with(model, context.lone_options());
        Ok((session(model)?, session(&int8)?))
    };
    let observe = |sessions: &mut (Session, Session), input: mnx::TensorView<'_>| {
        let mut part = Comparison::new();
        part.observe(&mut sessions.0, &mut sessions.1, input)?;
        Ok(part)
    };
    // What cannot be read has been told.
    samples.run(model, context, sessions, observe, |part| comparison.merge(&part))?;
    Ok(comparison)
}

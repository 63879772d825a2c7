//! `run`: a raw tensor through the network.

use std::borrow::Cow;
use std::fs;
use std::path::{Path, PathBuf};

use mnx::{BlockOutput, Model, Outputs, Session, Tensor};
use serde::Serialize;

use crate::args::Run;
use crate::context::Context;
use crate::error::{Error, shown};
use crate::json_path::bytes_unless_utf8;
use crate::npy::{self, NpyInput};
use crate::output::{OutputFile, check_apart, is_folder, is_one_place, is_standard};
use crate::source::Source;
use crate::stdout;

/// What is said in JSON of all outputs in one file.
#[derive(Serialize)]
struct Written<'a> {
    output: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    output_bytes: Option<Vec<u8>>,
    shape: &'a [usize],
}

/// What is said in JSON of a folder of outputs.
#[derive(Serialize)]
struct Folder<'a> {
    output: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    output_bytes: Option<Vec<u8>>,
    outputs: Vec<InFolder>,
}

#[derive(Serialize)]
struct InFolder {
    name: String,
    file: String,
    shape: Vec<usize>,
}

pub(crate) fn run(args: &Run, context: &Context) -> Result<(), Error> {
    let source = Source::needed(&args.weights)?;
    let inputs = || source.file().into_iter().chain([&*args.input]);
    check_apart(&args.output, inputs())?;
    let model = source.open()?;
    if let Some(folder) = &args.dump_blocks {
        for block in 0..model.network().blocks.len() {
            let file = dump_file(folder, block);
            check_apart(&file, inputs())?;
            if is_one_place(&file, &args.output) {
                let expected = "--output: expected another file than those of --dump-blocks";
                return Err(Error::Usage(format!("{expected}, found {}", shown(&args.output))));
            }
        }
    }
    let input = NpyInput::open(&args.input, model.spec().channels, model.limits().arena_bytes)?;
    let mut session = Session::with(&model, context.options()).map_err(Error::with_causes)?;
    let name = input.path().to_owned();
    session.prepare(input.shape()).map_err(|e| Error::file(&name, e))?;
    let input = input.read()?;
    let is_folder = is_folder(&args.output);
    let file = if is_folder { None } else { Some(OutputFile::create_or_stdout(&args.output)?) };
    let outputs = match &args.dump_blocks {
        Some(folder) => run_dumping(&model, &mut session, &input, folder)?,
        None => named(&session.run(input.view()).map_err(|e| Error::file(&name, e))?),
    };
    let blocks = args.dump_blocks.as_deref().map(|folder| format!("; blocks in {}", shown(folder))).unwrap_or_default();
    let (output, output_bytes) = (args.output.to_string_lossy(), bytes_unless_utf8(&args.output));
    let Some(file) = file else {
        write_folder(&args.output, &outputs, inputs)?;
        if context.is_json() {
            let in_folder = |Named { name, shape, .. }: &'_ Named| InFolder {
                name: name.clone(),
                file: output_file(&args.output, name).to_string_lossy().into(),
                shape: shape.clone(),
            };
            let outputs = outputs.iter().map(in_folder).collect();
            return stdout::print_json(&Folder { output, output_bytes, outputs });
        }
        let all =
            outputs.iter().map(|of| format!("{} {}", of.name, dimensions(&of.shape))).collect::<Vec<_>>().join(", ");
        return stdout::print(&format!("{}: {all}{blocks}\n", shown(&args.output)));
    };
    let Named { shape, values, .. } = side_by_side(outputs);
    npy::write(file, &shape, &values)?;
    if is_standard(&args.output) {
        return Ok(());
    }
    if context.is_json() {
        return stdout::print_json(&Written { output, output_bytes, shape: &shape });
    }
    stdout::print(&format!("{}: {}{blocks}\n", shown(&args.output), dimensions(&shape)))
}

/// An output: N x classes, or N x priors x numbers.
struct Named {
    name: String,
    shape: Vec<usize>,
    values: Vec<f32>,
}

/// The outputs of a run, without the dimensions at the end that say nothing.
fn named(outputs: &Outputs<'_>) -> Vec<Named> {
    let of = |(name, view): (&str, mnx::TensorView<'_>)| {
        let dimensions = if outputs.iter().count() > 1 { 3 } else { 2 };
        Named { name: name.into(), shape: view.shape()[..dimensions].into(), values: view.data().to_vec() }
    };
    outputs.iter().map(of).collect()
}

/// All outputs as one. Of a detector each prior has its scores first and then its box.
fn side_by_side(mut outputs: Vec<Named>) -> Named {
    if outputs.len() == 1 {
        return outputs.swap_remove(0);
    }
    let widths: Vec<usize> = outputs.iter().map(|of| of.shape.last().copied().unwrap_or(0)).collect();
    let mut shape = outputs[0].shape.clone();
    let rows: usize = shape.iter().rev().skip(1).product();
    if let Some(last) = shape.last_mut() {
        *last = widths.iter().sum();
    }
    let mut values = Vec::with_capacity(shape.iter().product());
    for row in 0..rows {
        for (of, width) in outputs.iter().zip(&widths) {
            values.extend_from_slice(&of.values[row * width..(row + 1) * width]);
        }
    }
    Named { name: String::new(), shape, values }
}

fn output_file(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!("{name}.npy"))
}

/// Writes each output to a file of its own.
fn write_folder<'a, I: Iterator<Item = &'a Path>>(
    folder: &Path,
    outputs: &[Named],
    inputs: impl Fn() -> I,
) -> Result<(), Error> {
    fs::create_dir_all(folder).map_err(|e| Error::file(folder, format_args!("cannot be made: {e}")))?;
    for output in outputs {
        let path = output_file(folder, &output.name);
        check_apart(&path, inputs())?;
        npy::write(OutputFile::create(&path)?, &output.shape, &output.values)?;
    }
    Ok(())
}

fn dimensions(shape: &[usize]) -> String {
    shape.iter().map(ToString::to_string).collect::<Vec<_>>().join(" x ")
}

/// Where a block's output goes.
fn dump_file(folder: &Path, block: usize) -> PathBuf {
    folder.join(format!("{block:02}.npy"))
}

/// Runs, and writes every block's output to the folder.
fn run_dumping(model: &Model, session: &mut Session, input: &Tensor, folder: &Path) -> Result<Vec<Named>, Error> {
    fs::create_dir_all(folder).map_err(|e| Error::file(folder, format_args!("cannot be made: {e}")))?;
    let mut dump = Dump { folder, pictures: input.shape()[0], files: Vec::new() };
    dump.files.reserve(model.network().blocks.len());
    let mut failed = None;
    let outputs = session.run_observed(input.view(), |block| {
        if failed.is_none() {
            failed = dump.add(block).err();
        }
    });
    let outputs = named(&outputs.map_err(Error::failed)?);
    match failed {
        Some(e) => Err(e),
        None => dump.finish().map(|()| outputs),
    }
}

/// One file per block: pictures come one after the other, each through all blocks. Only the file that is written to is open.
struct Dump<'a> {
    folder: &'a Path,
    pictures: usize,
    files: Vec<OutputFile>,
}

impl Dump<'_> {
    fn add(&mut self, block: BlockOutput<'_>) -> Result<(), Error> {
        if block.block == self.files.len() {
            let mut file = OutputFile::create(&dump_file(self.folder, block.block))?;
            let [channels, height, width] = block.shape;
            npy::start(&mut file, &[self.pictures, channels, height, width])?;
            self.files.push(file);
        }
        let file = &mut self.files[block.block];
        npy::append(file, block.values)?;
        file.pause()
    }

    fn finish(self) -> Result<(), Error> {
        self.files.into_iter().try_for_each(OutputFile::finish)
    }
}

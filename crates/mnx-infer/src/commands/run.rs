//! `run`: a raw tensor through the network.

use std::borrow::Cow;
use std::fs;
use std::path::{Path, PathBuf};

use mnx::{BlockOutput, Model, Session, Tensor};
use serde::Serialize;

use super::{Context, Source};
use crate::args::Run;
use crate::error::{Error, shown};
use crate::json_path::bytes_unless_utf8;
use crate::npy::{self, NpyInput};
use crate::output::{OutputFile, check_apart, is_standard};
use crate::stdout;

/// What is said in JSON.
#[derive(Serialize)]
struct Written<'a> {
    output: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    output_bytes: Option<Vec<u8>>,
    shape: [usize; 2],
}

pub(crate) fn run(args: &Run, context: &Context) -> Result<(), Error> {
    let source = Source::needed(&args.weights)?;
    let inputs = || source.file().into_iter().chain([&*args.input]);
    check_apart(&args.output, inputs())?;
    let model = source.open()?;
    if let Some(folder) = &args.dump_blocks {
        let files = (0..model.network().blocks.len()).map(|block| dump_file(folder, block));
        files.into_iter().try_for_each(|file| check_apart(&file, inputs()))?;
    }
    let input = NpyInput::open(&args.input, model.spec().channels, model.limits().arena_bytes)?;
    let mut session = Session::with(&model, context.options()).map_err(Error::failed)?;
    let name = input.path().to_owned();
    session.prepare(input.shape()).map_err(|e| Error::file(&name, e))?;
    let input = input.read()?;
    let output = OutputFile::create_or_stdout(&args.output)?;
    let logits = match &args.dump_blocks {
        Some(folder) => run_dumping(&model, &mut session, &input, folder)?,
        None => session.run(input.view()).map_err(|e| Error::file(&name, e))?.data().to_vec(),
    };
    let shape = [input.shape()[0], model.spec().classes];
    npy::write(output, &shape, &logits)?;
    if is_standard(&args.output) {
        return Ok(());
    }
    if context.is_json() {
        let (output, output_bytes) = (args.output.to_string_lossy(), bytes_unless_utf8(&args.output));
        return stdout::print_json(&Written { output, output_bytes, shape });
    }
    let blocks = args.dump_blocks.as_deref().map(|folder| format!("; blocks in {}", shown(folder)));
    let [pictures, classes] = shape;
    stdout::print(&format!("{}: {pictures} x {classes}{}\n", shown(&args.output), blocks.unwrap_or_default()))
}

/// Where a block's output goes.
fn dump_file(folder: &Path, block: usize) -> PathBuf {
    folder.join(format!("{block:02}.npy"))
}

/// Runs, and writes every block's output to the folder.
fn run_dumping(model: &Model, session: &mut Session, input: &Tensor, folder: &Path) -> Result<Vec<f32>, Error> {
    fs::create_dir_all(folder).map_err(|e| Error::file(folder, format_args!("cannot be made: {e}")))?;
    let mut dump = Dump { folder, pictures: input.shape()[0], files: Vec::new() };
    dump.files.reserve(model.network().blocks.len());
    let mut failed = None;
    let logits = session.run_observed(input.view(), |block| {
        if failed.is_none() {
            failed = dump.add(block).err();
        }
    });
    let logits = logits.map_err(Error::failed)?.data().to_vec();
    match failed {
        Some(e) => Err(e),
        None => dump.finish().map(|()| logits),
    }
}

/// One open file per block: pictures come one after the other, each through all blocks.
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
        npy::append(&mut self.files[block.block], block.values)
    }

    fn finish(self) -> Result<(), Error> {
        self.files.into_iter().try_for_each(OutputFile::finish)
    }
}

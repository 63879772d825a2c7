//! A small service: paths of pictures on stdin, one line per picture on stdout, a session per core on one shared model.
//!
//! ```sh
//! find testdata -name '*.png' -o -name '*.jpg' | cargo run --release -p mobilenext --features image --example service -- \
//!     crates/mnx-infer/model/mobilenext-0.35-cifar10.mnx
//! ```
//!
//! Answers are `path TAB label TAB probability` or `path TAB error TAB what is wrong`, in the order in which they are
//! ready. A picture that cannot be read is an answer like any other.

use std::io::{self, BufRead, Write};
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use mnx::{Classifier, Error, Model, Picture, SessionOptions};

fn main() -> ExitCode {
    let Some(model) = std::env::args_os().nth(1) else {
        eprintln!("usage: service MODEL.mnx < PATHS");
        return ExitCode::from(2);
    };
    let workers = thread::available_parallelism().map_or(1, usize::from);
    match classifiers(model.as_ref(), workers) {
        Ok(classifiers) => serve(classifiers),
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

/// One stream of inferences per worker. They share the model's weights; each has its own memory and one thread: with
/// many pictures at a time that is faster than many threads on each.
fn classifiers(model: &std::path::Path, workers: usize) -> Result<Vec<Classifier>, Error> {
    let model = Model::open(model)?;
    (0..workers).map(|_| Classifier::with(&model, SessionOptions::new().threads(1))).collect()
}

fn serve(classifiers: Vec<Classifier>) {
    // Bounded: whoever writes the paths waits until the service has caught up.
    let (queue, paths) = sync_channel(2 * classifiers.len());
    let paths = Arc::new(Mutex::new(paths));
    thread::scope(|scope| {
        for classifier in classifiers {
            let paths = Arc::clone(&paths);
            scope.spawn(move || work(classifier, &paths));
        }
        // The workers hold the queue's end: when all have stopped, so does the loop below.
        drop(paths);
        for line in io::stdin().lock().split(b'\n').map_while(Result::ok) {
            let path = String::from_utf8_lossy(&line).trim_end_matches('\r').to_owned();
            if !path.is_empty() && queue.send(path).is_err() {
                break;
            }
        }
        drop(queue);
    });
}

/// Answers until there are no more paths, or nobody reads the answers.
fn work(mut classifier: Classifier, paths: &Mutex<Receiver<String>>) {
    // The lock is held while waiting for a path, not during an inference.
    let next = || paths.lock().unwrap_or_else(PoisonError::into_inner).recv();
    while let Ok(path) = next() {
        let answer = answer(&mut classifier, &path).unwrap_or_else(|error| format!("error\t{error}"));
        if writeln!(io::stdout().lock(), "{path}\t{answer}").is_err() {
            return;
        }
    }
}

fn answer(classifier: &mut Classifier, path: &str) -> Result<String, Error> {
    let picture = Picture::open(path)?;
    let best = classifier.classify(&picture, 1)?;
    Ok(best
        .first()
        .map_or_else(String::new, |best| format!("{}\t{:.3}", best.label.as_deref().unwrap_or("?"), best.probability)))
}

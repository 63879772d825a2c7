//! Runs many pictures through the network. Reading, preprocessing and inference go on side by side; answers are in order.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, PoisonError, mpsc};
use std::thread;

use mnx::{Classifier, Model, Picture, PictureReader, SessionOptions};

use crate::context::Context;
use crate::error::Error;
use crate::pictures::Entry;

/// How many pictures per thread are read ahead of a slow one.
const AHEAD: usize = 2;

/// What the network says about one picture.
pub(crate) struct Answer {
    /// Index and probability of the most probable classes, most probable first.
    pub(crate) top: Vec<(usize, f32)>,
    /// The network's input, 3 x H x W. It is empty unless it was asked for.
    pub(crate) input: Vec<f32>,
}

/// The threads' classifiers, and what they are asked.
pub(crate) struct Pipeline {
    classifiers: Vec<Classifier>,
    top: usize,
    with_input: bool,
    reader: PictureReader,
}

impl Pipeline {
    /// A pipeline for this number of `pictures`. Answers have the `top` most probable classes.
    ///
    /// # Errors
    /// As [`workers`] and [`Classifier::with`].
    pub(crate) fn new(model: &Model, context: &Context, pictures: usize, top: usize) -> Result<Pipeline, Error> {
        let classifiers = workers(context, pictures, |options| Classifier::with(model, options))?;
        Ok(Pipeline { classifiers, top, with_input: false, reader: context.pictures().clone() })
    }

    /// Whether the answers hold the network's input.
    #[must_use]
    pub(crate) fn with_input(mut self, with_input: bool) -> Pipeline {
        self.with_input = with_input;
        self
    }

    /// Passes the answer of each entry to `deliver`, in the order of `entries` and as soon as it is there. If something is
    /// wrong with a picture, that is its answer.
    ///
    /// # Errors
    /// The first error of `deliver`, which ends the work; and [`Error::Failed`] if a thread cannot be started.
    pub(crate) fn run<T: AsRef<Entry> + Sync>(
        self,
        entries: &[T],
        deliver: impl FnMut(&T, Result<Answer, Error>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let Pipeline { classifiers, top, with_input, reader } = self;
        let work = |classifier: &mut Classifier, entry: &T| {
            let entry = entry.as_ref();
            answer(classifier, entry, &entry.open(&reader)?, top, with_input)
        };
        in_order(entries, classifiers, work, deliver)
    }
}

/// Makes workers for this number of `pictures`. If there is one picture, all threads work on it. If there are more, each
/// thread has one of its own, which gives the same bits.
///
/// # Errors
/// [`Error::Failed`] with what `make` says.
pub(crate) fn workers<W>(
    context: &Context,
    pictures: usize,
    make: impl Fn(SessionOptions) -> Result<W, mnx::Error>,
) -> Result<Vec<W>, Error> {
    if pictures <= 1 {
        return Ok(vec![make(context.options()).map_err(Error::with_causes)?]);
    }
    let threads = context.threads().min(pictures);
    (0..threads).map(|_| make(context.lone_options()).map_err(Error::with_causes)).collect()
}

/// Classifies one picture.
fn answer(
    classifier: &mut Classifier,
    entry: &Entry,
    picture: &Picture,
    top: usize,
    with_input: bool,
) -> Result<Answer, Error> {
    let top: Vec<_> = classifier
        .classify(picture, top)
        .map_err(|e| Error::file(&entry.path, e))?
        .into_iter()
        .map(|found| (found.index, found.probability))
        .collect();
    if top.iter().any(|(_, probability)| !probability.is_finite()) {
        let found = "NaN or infinity: weights or normalisation are out of range";
        return Err(Error::expected(&entry.path, "finite logits", found));
    }
    let input = if with_input { classifier.input().to_vec() } else { Vec::new() };
    Ok(Answer { top, input })
}

/// Runs `work` on every entry, with one thread per worker. `deliver` gets the results in order, on this thread. At most
/// [`AHEAD`] entries per worker are begun but not delivered, even if all wait for a slow one.
///
/// If `work` panics, the result is an error. If `deliver` fails, all threads end after what they are doing.
pub(crate) fn in_order<T: AsRef<Entry> + Sync, W: Send, A: Send>(
    entries: &[T],
    workers: Vec<W>,
    work: impl Fn(&mut W, &T) -> Result<A, Error> + Sync,
    mut deliver: impl FnMut(&T, Result<A, Error>) -> Result<(), Error>,
) -> Result<(), Error> {
    let window = AHEAD * workers.len();
    let (jobs, queue) = mpsc::channel::<usize>();
    let queue = Mutex::new(queue);
    // A worker ends when there are no more jobs, or nobody takes its answers.
    let serve = |mut worker: W, answers: mpsc::Sender<_>| {
        let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        while let Ok(i) = next() {
            let entry = &entries[i];
            let done = catch_unwind(AssertUnwindSafe(|| work(&mut worker, entry)));
            let done = done.unwrap_or_else(|_| Err(Error::file(&entry.as_ref().path, "this program panicked over it")));
            if answers.send((i, done)).is_err() {
                break;
            }
        }
    };
    thread::scope(|scope| {
        // They are dropped with this closure, which ends the threads before the scope waits for them.
        let (jobs, (sender, answers)) = (jobs, mpsc::channel());
        for worker in workers {
            let sender = sender.clone();
            let started = thread::Builder::new().spawn_scoped(scope, || serve(worker, sender));
            started.map_err(|e| Error::failed(format_args!("a thread cannot be started: {e}")))?;
        }
        drop(sender);
        let mut early = BTreeMap::new();
        let mut begun = 0;
        for (delivered, entry) in entries.iter().enumerate() {
            while begun < entries.len().min(delivered + window) {
                jobs.send(begun).map_err(Error::failed)?;
                begun += 1;
            }
            let done = loop {
                if let Some(done) = early.remove(&delivered) {
                    break done;
                }
                let (i, done) = answers.recv().map_err(Error::failed)?;
                early.insert(i, done);
            };
            deliver(entry, done)?;
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
    use std::time::Duration;

    use super::*;

    fn entries(count: usize) -> Vec<Entry> {
        (0..count).map(|i| Entry::new(i.to_string())).collect()
    }

    fn number(entry: &Entry) -> usize {
        entry.path.to_str().unwrap().parse().unwrap()
    }

    #[test]
    fn answers_come_in_order_whatever_the_number_of_workers() {
        for (count, workers) in [(0, 1), (1, 1), (1, 3), (50, 1), (50, 3), (50, 64)] {
            let work = |_: &mut (), entry: &Entry| {
                // Later ones are faster.
                thread::sleep(Duration::from_micros(500 - 10 * number(entry) as u64));
                Ok(number(entry))
            };
            let mut got = Vec::new();
            let deliver = |entry: &Entry, done: Result<usize, Error>| {
                assert_eq!(number(entry), done.unwrap());
                got.push(number(entry));
                Ok(())
            };
            in_order(&entries(count), vec![(); workers], work, deliver).unwrap();
            assert!(got.into_iter().eq(0..count));
        }
    }

    #[test]
    fn the_others_do_not_run_away_from_a_slow_one() {
        let begun = AtomicUsize::new(0);
        let work = |_: &mut (), entry: &Entry| {
            begun.fetch_add(1, SeqCst);
            if number(entry) == 0 {
                // Until the others have done all that they may, and long enough for them to do more.
                while begun.load(SeqCst) < 2 * AHEAD {
                    thread::yield_now();
                }
                thread::sleep(Duration::from_millis(50));
                assert_eq!(begun.load(SeqCst), 2 * AHEAD);
            }
            Ok(())
        };
        in_order(&entries(100), vec![(); 2], work, |_, done| done).unwrap();
        assert_eq!(begun.into_inner(), 100);
    }

    #[test]
    fn a_panic_is_the_answer_of_one_picture() {
        let work = |_: &mut (), entry: &Entry| {
            assert!(number(entry) % 4 != 1, "a panic on purpose");
            Ok(())
        };
        for workers in [1, 3] {
            let mut failed = Vec::new();
            let deliver = |entry: &Entry, done: Result<(), Error>| {
                if let Err(e) = done {
                    assert_eq!(e.to_string(), format!("{}: this program panicked over it", number(entry)));
                    failed.push(number(entry));
                }
                Ok(())
            };
            in_order(&entries(10), vec![(); workers], work, deliver).unwrap();
            assert_eq!(failed, [1, 5, 9]);
        }
    }

    #[test]
    fn nothing_is_begun_after_a_failure() {
        let begun = AtomicUsize::new(0);
        let work = |_: &mut (), _: &Entry| {
            begun.fetch_add(1, SeqCst);
            thread::sleep(Duration::from_millis(1));
            Ok(())
        };
        let mut delivered = 0;
        let deliver = |_: &Entry, _| {
            delivered += 1;
            if delivered == 3 { Err(Error::Closed) } else { Ok(()) }
        };
        let ended = in_order(&entries(1000), vec![(); 2], work, deliver);
        assert!(matches!(ended, Err(Error::Closed)));
        let begun = begun.into_inner();
        assert!((3..3 + 2 * AHEAD).contains(&begun), "{begun}");
    }
}

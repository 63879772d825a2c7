//! What is said of many pictures, one after the other.

use std::io::{self, IsTerminal};

use indicatif::ProgressBar;
use serde::Serialize;

use crate::context::Context;
use crate::error::{Error, line};
use crate::progress;
use crate::stdout;

/// Up to so many pictures need no progress bar.
const A_FEW: usize = 10;

/// Answers of pictures, in order: as text each is printed at once, as JSON all are printed in the end.
pub(super) struct Answers<A> {
    json: bool,
    progress: ProgressBar,
    failed: bool,
    answers: Vec<A>,
}

impl<A: Serialize> Answers<A> {
    /// A progress bar is there where there is something to wait for and the answers themselves do not show how far it is.
    pub(super) fn new(context: &Context, pictures: usize) -> Answers<A> {
        let bar = pictures > A_FEW && !io::stdout().is_terminal();
        let progress = if bar { progress::pictures(pictures) } else { ProgressBar::hidden() };
        Answers { json: context.is_json(), progress, failed: false, answers: Vec::new() }
    }

    /// Complains of what is wrong with a picture, in one line whatever its name holds, and returns that line.
    pub(super) fn complain(&mut self, error: &Error) -> String {
        let message = line(&error.to_string());
        self.progress.suspend(|| stdout::complain(&message));
        self.failed = true;
        message
    }

    /// Takes the next picture's answer.
    pub(super) fn add(&mut self, answer: A, text: impl FnOnce(&A) -> String) -> Result<(), Error> {
        self.progress.inc(1);
        if self.json {
            self.answers.push(answer);
            return Ok(());
        }
        stdout::print(&text(&answer))
    }

    /// Says what is left to say. `ran` is how the work ended.
    ///
    /// # Errors
    /// That of the work; [`Error::Reported`] if it ended well, but there was a complaint of a picture.
    pub(super) fn finish(self, ran: Result<(), Error>) -> Result<(), Error> {
        self.progress.finish_and_clear();
        let finished = ran.and_then(|()| if self.json { stdout::print_json(&self.answers) } else { Ok(()) });
        match finished {
            Ok(()) | Err(Error::Closed) if self.failed => Err(Error::Reported),
            finished => finished,
        }
    }
}

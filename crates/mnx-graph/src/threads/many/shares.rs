//! What threads share out among them.

use super::team::Phase;
use crate::Error;
use crate::plan::Plan;

/// How an inference is shared out.
pub(crate) struct Shares {
    /// Pictures that one thread computes whole.
    pub(crate) whole: usize,
    pub(crate) phases: Vec<Phase>,
}

impl Shares {
    /// For `batch` pictures on `threads` threads, of which each computes its share of `whole` pictures alone.
    ///
    /// # Errors
    /// [`Error::Memory`] when there is no memory for them.
    pub(crate) fn new(plan: &Plan, batch: usize, whole: usize, threads: usize) -> Result<Shares, Error> {
        let count = Shares::phases(plan, batch, whole);
        let bytes = Shares::bytes(plan, batch, whole, threads);
        let no_memory = || Error::Memory { what: "what threads share out", bytes };
        let mut phases = Vec::new();
        phases.try_reserve_exact(count).map_err(|_| no_memory())?;
        for _ in 0..count {
            phases.push(Phase::new(threads).ok_or_else(no_memory)?);
        }
        Ok(Shares { whole, phases })
    }

    fn phases(plan: &Plan, batch: usize, whole: usize) -> usize {
        let of_pictures = (batch - whole).saturating_mul(plan.picture_steps);
        of_pictures.saturating_add(plan.steps.len() - plan.picture_steps + 1)
    }

    /// Bytes that they take.
    pub(crate) fn bytes(plan: &Plan, batch: usize, whole: usize, threads: usize) -> u64 {
        Phase::bytes(threads).saturating_mul(Shares::phases(plan, batch, whole) as u64)
    }

    /// Makes the phases of one inference ready: whole pictures first, each by whoever takes it; then the
    /// remaining ones step by step, all threads on each; then the steps of the batch, if asked for, which read their weights once.
    pub(crate) fn reset(&mut self, plan: &Plan, batch_steps: bool) {
        let (of_picture, phases) = (plan.picture_steps, self.phases.len());
        let of_batch = plan.steps.len() - of_picture;
        for (index, phase) in self.phases.iter_mut().enumerate() {
            phase.reset(match index {
                0 => self.whole,
                _ if index + of_batch < phases => plan.steps[(index - 1) % of_picture].split.units(),
                _ if !batch_steps => 0,
                _ => plan.steps[of_picture + index + of_batch - phases].split.units(),
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::threads::shared;
    use crate::{MAX_THREADS, Model, Session, SessionOptions, Spec};

    /// Every picture that is not computed whole by one thread has phases of its own, with a share for each thread.
    #[test]
    #[cfg_attr(feature = "guarded", ignore = "the pages between regions count, and are too many")]
    fn what_threads_share_out_counts_against_the_limit() {
        let mut spec = Spec::family("mobilenext").unwrap();
        spec.width = 0.1;
        let model = Model::from_bytes(crate::init(&spec, 1).unwrap()).unwrap();
        let options = SessionOptions::new().threads(MAX_THREADS).pool(shared(1).unwrap());
        let mut session = Session::with(&model, options).unwrap();
        let error = session.prepare([MAX_THREADS - 1, 3, 1, 1]).unwrap_err();
        assert!(
            matches!(error, crate::Error::Limit { ref what, .. } if what.contains("for 1023 x 3 x 1 x 1")),
            "{error}"
        );
        session.prepare([1, 3, 1, 1]).unwrap();
        // Together with the arena.
        let held = |arena_bytes: u64| {
            let mut options = crate::OpenOptions::new();
            options.limits.arena_bytes = arena_bytes;
            let model = Model::from_bytes_with(crate::init(&spec, 1).unwrap(), &options).unwrap();
            let options = SessionOptions::new().threads(64).pool(shared(1).unwrap());
            let mut session = Session::with(&model, options).unwrap();
            session.prepare([63, 3, 1, 1]).map(|()| session.prepared().unwrap().held)
        };
        let all = held(u64::MAX).unwrap();
        assert_eq!(held(all).unwrap(), all);
        assert_eq!(held(all - 1).unwrap_err().kind(), crate::ErrorKind::Limit);
    }
}

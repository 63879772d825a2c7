//! Several threads in one inference: the calling one and helpers of a pool.

use std::sync::{Arc, Mutex, PoisonError};

use mnx_tensor::TensorView;

use crate::exec::{Exec, Hand};
use crate::layers::Layers;
use crate::run::{Prepared, Until, Watch};
use crate::threads::team::{Bell, Job, Phase, Team, work_through};
use crate::threads::{ThreadPool, shared};
use crate::{Error, Stopper};

/// Who runs a session's inferences.
pub(crate) struct Crew {
    threads: usize,
    pool: Option<ThreadPool>,
    team: Arc<Team>,
}

impl Crew {
    /// # Errors
    /// [`Error::Pool`] when threads of its own cannot be started.
    pub(crate) fn new(threads: usize, pool: Option<ThreadPool>) -> Result<Crew, Error> {
        let pool = match pool {
            None if threads > 1 => Some(shared(threads - 1)?),
            pool => pool,
        };
        Ok(Crew { threads, pool, team: Arc::new(Team::new(threads - 1)) })
    }

    /// Runs on as many threads as it has, or alone. `prepared` was made for `layers` and the input's shape.
    ///
    /// # Errors
    /// [`Error::Stopped`] if it was stopped before its end.
    pub(crate) fn run<W: Watch + Send>(
        &mut self,
        prepared: &mut Prepared,
        layers: &Layers,
        input: TensorView<'_>,
        until: Until,
        stopper: &Stopper,
        watch: &mut W,
    ) -> Result<(), Error> {
        // One thread can do everything that is laid out for several.
        let Some(pool) = self.pool.as_ref().filter(|pool| self.threads > 1 && pool.is_here()) else {
            return prepared.run_alone(layers, input, until, stopper, watch);
        };
        let Prepared { shape, plan, memory, regions, shares, .. } = prepared;
        shares.reset(plan, until == Until::Outputs);
        // SAFETY: plan and regions were made for these layers and the input's shape.
        let run = unsafe { Exec::new(layers, plan, input, memory, regions, stopper) };
        let (exec, pictures, whole) = (&run, shape[0], shares.whole);
        let (phases, bell) = (&shares.phases, self.team.bell());
        let watch = Mutex::new(watch);
        // Only worker 0 asks for it: the lock is there to be shared, never waited for.
        let job = |worker: usize| {
            if worker == 0 {
                let mut watch = watch.lock().unwrap_or_else(PoisonError::into_inner);
                Worker { exec, hand: Hand::new(worker), pictures, whole, watch: &mut **watch }.work(phases, bell);
            } else {
                Worker { exec, hand: Hand::new(worker), pictures, whole, watch: &mut () }.work(phases, bell);
            }
        };
        // SAFETY: `&mut self`: one run of this team at a time.
        unsafe { Team::run(&self.team, |helper| pool.spawn(|| helper.run()), &job) }
        run.finished()
    }
}

/// One thread's part in an inference on several.
struct Worker<'a, W> {
    exec: &'a Exec<'a>,
    /// Number 0 is the one that called.
    hand: Hand,
    /// Pictures of the batch, and how many of them one thread computes whole.
    pictures: usize,
    whole: usize,
    watch: &'a mut W,
}

/// What a phase computes.
enum Stage {
    /// A unit is a picture, all its steps.
    WholePictures,
    /// A unit of a step of a picture.
    Step { step: usize, picture: usize },
}

impl<W: Watch> Worker<'_, W> {
    fn work(mut self, phases: &[Phase], bell: &Bell) {
        work_through(phases, bell, self.hand.worker, &mut self);
    }

    fn stage(&self, phase: usize) -> Stage {
        let (of_picture, rest) = (self.exec.picture_steps(), self.pictures - self.whole);
        match phase.checked_sub(1) {
            None => Stage::WholePictures,
            Some(n) if n < rest * of_picture => {
                Stage::Step { step: n % of_picture, picture: self.whole + n / of_picture }
            }
            // A step of the batch, which has no picture.
            Some(n) => Stage::Step { step: of_picture + n - rest * of_picture, picture: 0 },
        }
    }
}

impl<W: Watch> Job for Worker<'_, W> {
    fn unit(&mut self, phase: usize, unit: usize) {
        // SAFETY: each unit of a phase is claimed once, and a phase starts when the one before is complete. A worker that
        // computes a whole picture uses its own workspace. Pictures that workers share use workspace 0, which no whole
        // picture needs any more.
        unsafe {
            match self.stage(phase) {
                Stage::Step { step, picture } => self.exec.step(step, unit, picture, 0, &mut self.hand),
                Stage::WholePictures => {
                    for step in 0..self.exec.picture_steps() {
                        for part in 0..self.exec.units(step) {
                            let workspace = self.hand.worker;
                            self.exec.step(step, part, unit, workspace, &mut self.hand);
                        }
                        self.watch.step(self.exec, step, unit);
                    }
                }
            }
        }
    }

    fn waiting(&mut self) {
        self.watch.waiting();
    }

    fn complete(&mut self, phase: usize) {
        match self.stage(phase) {
            Stage::WholePictures => self.watch.gathered(),
            Stage::Step { step, picture } => self.watch.step(self.exec, step, picture),
        }
    }
}

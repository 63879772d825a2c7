//! Sessions where something goes wrong around them: busy and panicking pools, observers that panic, forks, too few threads, many
//! sessions at once and one after the other.
#![cfg(feature = "rayon")]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use mnx_graph::unstable::thread_pool;
use mnx_graph::{Model, Session, SessionOptions, Spec, ThreadPool, init};
use mnx_tensor::Tensor;

/// One test at a time: some measure the process's memory.
fn one() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn model() -> Model {
    let mut spec = Spec::family("mobilenext-cifar").unwrap();
    (spec.width, spec.classes) = (0.1, 10);
    Model::from_bytes(init(&spec, 1).unwrap()).unwrap()
}

fn input(batch: usize) -> Tensor {
    let values: Vec<f32> = (0..batch * 3 * 32 * 32).map(|i| (i * 7919 % 1999) as f32 / 999.0 - 1.0).collect();
    Tensor::from_slice([batch, 3, 32, 32], &values).unwrap()
}

fn bits(session: &mut Session, input: &Tensor) -> Vec<u32> {
    session.run(input.view()).unwrap().data().iter().map(|value| value.to_bits()).collect()
}

fn alone(model: &Model, input: &Tensor) -> Vec<u32> {
    bits(&mut Session::with(model, SessionOptions::new().threads(1)).unwrap(), input)
}

/// A session on so many threads of a pool that the program has.
fn session(model: &Model, threads: usize, pool: &Arc<rayon::ThreadPool>) -> Session {
    let options = SessionOptions::new().threads(threads).pool(thread_pool(Arc::clone(pool)));
    Session::with(model, options).unwrap()
}

/// Bytes of the process's heap and stacks that are in memory. `None` where nobody says; other CPUs are emulated by processes whose
/// memory is not only the test's.
fn resident() -> Option<usize> {
    if !cfg!(target_arch = "x86_64") {
        return None;
    }
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"))?;
    Some(line.trim().trim_end_matches(" kB").parse::<usize>().ok()? << 10)
}

#[test]
fn observers_may_panic() {
    let _one = one();
    let (model, input) = (model(), input(2));
    let expected = alone(&model, &input);
    let mut session = Session::with(&model, SessionOptions::new().threads(3)).unwrap();
    let mut panics = 0;
    for at in (0..60).step_by(3) {
        let mut calls = 0;
        let observe = |_: mnx_graph::BlockOutput<'_>| {
            calls += 1;
            assert!(calls <= at, "as a caller's own code might");
        };
        let observed = catch_unwind(AssertUnwindSafe(|| drop(session.run_observed(input.view(), observe))));
        panics += usize::from(observed.is_err());
        assert_eq!(bits(&mut session, &input), expected);
        session.features(input.view()).unwrap();
    }
    assert!((1..20).contains(&panics), "{panics}");
}

#[test]
fn jobs_of_a_pool_may_panic() {
    let _one = one();
    let panics = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&panics);
    let handler = move |_| {
        seen.fetch_add(1, Ordering::Relaxed);
    };
    let pool = Arc::new(rayon::ThreadPoolBuilder::new().num_threads(2).panic_handler(handler).build().unwrap());
    let (model, input) = (model(), input(3));
    let expected = alone(&model, &input);
    let mut session = session(&model, 3, &pool);
    for run in 0..50 {
        (0..run % 3).for_each(|_| pool.spawn(|| panic!("a job of the program's")));
        assert_eq!(bits(&mut session, &input), expected);
    }
    // What was spawned before has run when this has.
    pool.broadcast(|_| ());
    assert!(panics.load(Ordering::Relaxed) > 0);
}

/// Helpers that a busy pool does not start do not pile up; the session goes before they do.
#[test]
fn busy_pools_are_not_filled() {
    let _one = one();
    let pool = Arc::new(rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap());
    let (model, input) = (model(), Tensor::zeros([1, 3, 4, 4]).unwrap());
    let expected = alone(&model, &input);
    let free = Arc::new(AtomicBool::new(false));
    let wait = Arc::clone(&free);
    pool.spawn(move || {
        while !wait.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(1));
        }
    });
    let mut session = session(&model, 8, &pool);
    let mut runs = |count: usize| (0..count).for_each(|_| assert_eq!(bits(&mut session, &input), expected));
    runs(100);
    let before = resident();
    // Each took half a kilobyte once: these would be 5 MB.
    runs(10_000);
    if let (Some(before), Some(after)) = (before, resident()) {
        assert!(after < before + (2 << 20), "{before} bytes grew to {after}");
    }
    drop(session);
    free.store(true, Ordering::Relaxed);
    pool.install(|| ());
}

/// The only thread of a pool is the caller: helpers cannot start, and are not waited for.
#[test]
fn inside_a_pool_of_one_thread() {
    let _one = one();
    let pool = Arc::new(rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap());
    let (model, input) = (model(), Tensor::zeros([1, 3, 4, 4]).unwrap());
    let expected = alone(&model, &input);
    let growth = pool.install(|| {
        let mut session = session(&model, 8, &pool);
        let mut runs = |count: usize| (0..count).for_each(|_| assert_eq!(bits(&mut session, &input), expected));
        runs(100);
        let before = resident();
        runs(10_000);
        Some(resident()?.saturating_sub(before?))
    });
    assert!(growth.is_none_or(|growth| growth < 2 << 20), "{growth:?} bytes more");
}

#[test]
fn many_threads_share_a_model() {
    let _one = one();
    let (model, input) = (model(), input(2));
    let expected = alone(&model, &input);
    std::thread::scope(|scope| {
        for thread in 0..64 {
            let (model, input, expected) = (&model, &input, &expected);
            scope.spawn(move || {
                for number in 0..4 {
                    let options = SessionOptions::new().threads(1 + (thread + number) % 4);
                    let mut session = Session::with(model, options).unwrap();
                    for _ in 0..3 {
                        assert_eq!(&bits(&mut session, input), expected);
                    }
                }
            });
        }
    });
}

/// `MNX_SESSIONS=20000` makes so many. Where memory cannot be told, for a CPU that is emulated, they only have to work.
#[test]
fn sessions_that_come_and_go_leave_nothing() {
    let _one = one();
    let count = std::env::var("MNX_SESSIONS")
        .ok()
        .map_or(if resident().is_some() { 600 } else { 20 }, |count| count.parse().unwrap());
    let (model, input) = (model(), input(1));
    for threads in [1, 4] {
        let make = |count: usize| {
            for _ in 0..count {
                let mut session = Session::with(&model, SessionOptions::new().threads(threads)).unwrap();
                session.run(input.view()).unwrap();
            }
        };
        make(count.min(200));
        let before = resident();
        make(count);
        if let (Some(before), Some(after)) = (before, resident()) {
            assert!(after < before + (8 << 20), "{threads} threads: {before} bytes grew to {after}");
        }
    }
}

/// More threads than the system starts are an error, and a smaller pool can be had afterwards. (A shell starts no program of a CPU
/// that is emulated.)
#[test]
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
fn too_few_threads_are_an_error() {
    let _one = one();
    const CHILD: &str = "MNX_TEST_TOO_FEW_THREADS";
    if std::env::var_os(CHILD).is_some() {
        let error = ThreadPool::new(1000).unwrap_err();
        assert_eq!(error.kind(), mnx_tensor::ErrorKind::Io, "{error}");
        // Those that were started end by and by.
        let mut pools = (0..5_000).map(|_| {
            std::thread::sleep(Duration::from_millis(1));
            ThreadPool::new(2)
        });
        assert!(pools.any(|pool| pool.is_ok()));
        return;
    }
    // Stacks of 2 MiB do not fit: kilobytes of addresses.
    let mut shell = std::process::Command::new("sh");
    shell.args(["-c", r#"ulimit -v 1000000 && exec "$0" --exact too_few_threads_are_an_error"#]);
    let output = shell.arg(std::env::current_exe().unwrap()).env(CHILD, "1").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

/// In a fork there are no threads but the one that forked. Sessions of before and new ones work there, with the same bits. (Not
/// where a CPU is emulated: the emulator's threads are gone as well.)
#[test]
#[cfg(all(unix, target_arch = "x86_64"))]
fn forks_work_alone() {
    let _one = one();
    let (model, input) = (model(), input(5));
    let expected = alone(&model, &input);
    let pool = Arc::new(rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap());
    let own = ThreadPool::new(2).unwrap();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        // The pools are at work, and new sessions made, while the process forks.
        for _ in 0..2 {
            scope.spawn(|| {
                let mut old = session(&model, 3, &pool);
                while !stop.load(Ordering::Relaxed) {
                    old.run(input.view()).unwrap();
                    let mut new = Session::with(&model, SessionOptions::new().threads(4)).unwrap();
                    new.run(input.view()).unwrap();
                }
            });
        }
        let mut sessions = [
            session(&model, 3, &pool),
            Session::with(&model, SessionOptions::new().threads(3).pool(own.clone())).unwrap(),
        ];
        sessions.iter_mut().for_each(|session| assert_eq!(bits(session, &input), expected));
        for fork in 0..40 {
            let work = || match fork % 4 {
                0 => bits(&mut sessions[0], &input) == expected,
                1 => bits(&mut sessions[1], &input) == expected,
                2 => {
                    let mut new = Session::with(&model, SessionOptions::new().threads(4)).unwrap();
                    bits(&mut new, &input) == expected && bits(&mut new, &input) == expected
                }
                _ => {
                    let mut new = Session::with(&model, SessionOptions::new().threads(2).pool(own.clone())).unwrap();
                    let right = bits(&mut new, &input) == expected;
                    drop(new);
                    right
                }
            };
            assert_eq!(forked(work), Some(0), "fork {fork}");
        }
        stop.store(true, Ordering::Relaxed);
    });
}

/// How a forked child ends that does this. `None` if it does not end within some seconds.
#[cfg(all(unix, target_arch = "x86_64"))]
fn forked(work: impl FnOnce() -> bool) -> Option<i32> {
    // SAFETY: the child runs nothing but this and ends without running anything of the parent's.
    let child = unsafe { libc::fork() };
    assert!(child >= 0, "{}", std::io::Error::last_os_error());
    if child == 0 {
        let right = catch_unwind(AssertUnwindSafe(work));
        // SAFETY: ends the process.
        unsafe { libc::_exit(if right.is_ok_and(|right| right) { 0 } else { 3 }) };
    }
    let mut status = 0;
    for _ in 0..20_000 {
        // SAFETY: waits for the child made above.
        if unsafe { libc::waitpid(child, &raw mut status, libc::WNOHANG) } == child {
            return Some(status);
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    // SAFETY: ends the child made above.
    unsafe {
        libc::kill(child, libc::SIGKILL);
        libc::waitpid(child, &raw mut status, 0);
    }
    None
}

/// Stopped at any moment, a run either ends with the error or has its bits, and the next one has them in any case.
#[test]
fn runs_are_stopped_and_resumed() {
    let _one = one();
    let (model, input) = (model(), input(3));
    let expected = alone(&model, &input);
    let pool = Arc::new(rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap());
    for threads in [1, 3] {
        let mut session = session(&model, threads, &pool);
        session.prepare(input.shape()).unwrap();
        let stopper = session.stopper();
        let (mut stopped, mut complete) = (0, 0);
        // On a busy machine the thread that stops may come too late again and again.
        for round in 0..3000_u32 {
            if round >= 90 && stopped > 0 {
                break;
            }
            let result = std::thread::scope(|scope| {
                let stop = || {
                    std::thread::sleep(Duration::from_micros(u64::from(round % 30) * 20));
                    stopper.stop();
                };
                scope.spawn(stop);
                session.run(input.view()).map(|outputs| outputs.data().iter().map(|v| v.to_bits()).collect::<Vec<_>>())
            });
            match result {
                Ok(bits) => {
                    assert_eq!(bits, expected, "{threads} threads, round {round}");
                    complete += 1;
                }
                Err(mnx_graph::Error::Stopped) => stopped += 1,
                Err(error) => panic!("{error}"),
            }
            assert!(matches!(session.features(input.view()), Err(mnx_graph::Error::Stopped)));
            let mut seen = 0;
            assert!(session.run_observed(input.view(), |_| seen += 1).is_err());
            assert_eq!(seen, 0, "blocks that were not computed");
            stopper.resume();
            assert_eq!(bits(&mut session, &input), expected, "{threads} threads, after round {round}");
        }
        assert!(stopped > 0, "{complete} runs were complete");
    }
}

//! What the system does to the program behind its back.

#[cfg(unix)]
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};
#[cfg(unix)]
use std::time::{Duration, Instant};

/// Makes a file that grows beyond the limit of its size (`ulimit -f`) a failed write, which is reported and leaves nothing,
/// instead of the program's end.
pub(crate) fn survive_large_files() {
    #[cfg(unix)]
    {
        // Any handler will do, and one is enough for all runs of a guest. Without one, the program ends as it did.
        static ONCE: std::sync::Once = std::sync::Once::new();
        ONCE.call_once(|| {
            let caught = std::sync::Arc::default();
            let _ = signal_hook::flag::register(signal_hook::consts::SIGXFSZ, caught);
        });
    }
}

/// Signals that this program has actions of its own for.
#[cfg(unix)]
const OWN_SIGNALS: [i32; 4] = [libc::SIGHUP, libc::SIGINT, libc::SIGTERM, libc::SIGXFSZ];

/// Takes over the signals of a process that is not this program's own, until the guard is dropped.
#[cfg(unix)]
pub(crate) fn borrow_signals() -> Borrowed {
    let turn = guest().lock().unwrap_or_else(PoisonError::into_inner);
    let theirs = OWN_SIGNALS.map(action);
    for (index, (&signal, theirs)) in OWN_SIGNALS.iter().zip(&theirs).enumerate() {
        // What is ignored stays so. A handler of an earlier call comes back: the crate that set it believes it to be there.
        match turn[index] {
            _ if theirs.sa_sigaction == libc::SIG_IGN => {}
            Some(own) => set_action(signal, &own),
            None => set_action(signal, &default_action()),
        }
    }
    Borrowed { theirs, turn }
}

/// Gives signals back when it is dropped.
#[cfg(unix)]
pub(crate) struct Borrowed {
    theirs: [libc::sigaction; 4],
    turn: MutexGuard<'static, Actions>,
}

/// Actions for [`OWN_SIGNALS`].
#[cfg(unix)]
type Actions = [Option<libc::sigaction>; 4];

/// The actions of the guest's earlier calls, locked during a call. A fork has a lock of its own: a thread of the original process
/// may have been in a call, and nobody is left to end it.
#[cfg(unix)]
fn guest() -> &'static Mutex<Actions> {
    static GUEST: Mutex<Option<(u32, &'static Mutex<Actions>)>> = Mutex::new(None);
    let process = std::process::id();
    let Some(mut guest) = lock(&GUEST) else { return Box::leak(Box::default()) };
    match *guest {
        Some((of, actions)) if of == process => actions,
        ref earlier => {
            // Handlers are still set in a fork, as far as the crate that set them knows.
            let actions = earlier.and_then(|(_, actions)| actions.try_lock().map(|actions| *actions).ok());
            // As long as the process; there is one for each fork of a fork.
            let actions: &Mutex<Actions> = Box::leak(Box::new(Mutex::new(actions.unwrap_or_default())));
            *guest = Some((process, actions));
            actions
        }
    }
}

/// Locks what is locked for a moment only; not if it stays locked. In a fork it does if a thread of the original process had it at
/// that moment.
#[cfg(unix)]
fn lock<T>(mutex: &Mutex<T>) -> Option<MutexGuard<'_, T>> {
    const PATIENCE: Duration = Duration::from_secs(1);
    let since = Instant::now();
    loop {
        match mutex.try_lock() {
            Ok(guard) => return Some(guard),
            Err(TryLockError::Poisoned(error)) => return Some(error.into_inner()),
            Err(TryLockError::WouldBlock) if since.elapsed() > PATIENCE => return None,
            Err(TryLockError::WouldBlock) => std::thread::sleep(Duration::from_micros(100)),
        }
    }
}

#[cfg(unix)]
impl Drop for Borrowed {
    fn drop(&mut self) {
        for (index, (&signal, theirs)) in OWN_SIGNALS.iter().zip(&self.theirs).enumerate() {
            let own = action(signal);
            if ![libc::SIG_IGN, libc::SIG_DFL, theirs.sa_sigaction].contains(&own.sa_sigaction) {
                self.turn[index] = Some(own);
            }
            set_action(signal, theirs);
        }
    }
}

/// What a signal does now.
#[cfg(unix)]
pub(crate) fn action(signal: i32) -> libc::sigaction {
    let mut now = default_action();
    // SAFETY: without a new action, this only writes the present one to where it is told to.
    unsafe { libc::sigaction(signal, std::ptr::null(), &raw mut now) };
    now
}

#[cfg(unix)]
fn default_action() -> libc::sigaction {
    // SAFETY: zeros are a valid `sigaction`: the default action, no flags, an empty mask.
    unsafe { std::mem::zeroed() }
}

#[cfg(unix)]
fn set_action(signal: i32, action: &libc::sigaction) {
    // SAFETY: the action was read from the system, or is the default one.
    unsafe { libc::sigaction(signal, action, std::ptr::null_mut()) };
}

/// Elsewhere there is nothing to give back.
#[cfg(not(unix))]
pub(crate) fn borrow_signals() {}

/// Whether standard output was closed when the program began. (`std` puts /dev/null in its place before `main`.)
pub(crate) fn has_no_stdout() -> bool {
    #[cfg(all(unix, not(target_vendor = "apple")))]
    return early::NO_STDOUT.load(std::sync::atomic::Ordering::Relaxed);
    #[cfg(not(all(unix, not(target_vendor = "apple"))))]
    false
}

#[cfg(all(unix, not(target_vendor = "apple")))]
mod early {
    use std::sync::atomic::{AtomicBool, Ordering};

    pub(super) static NO_STDOUT: AtomicBool = AtomicBool::new(false);

    /// The system's loader calls what is in this section before `std` is set up.
    // SAFETY: the section is a list of functions without arguments; the one in it needs nothing of `std`.
    #[used]
    #[unsafe(link_section = ".init_array")]
    static LOOK: extern "C" fn() = look;

    extern "C" fn look() {
        // SAFETY: asking for a descriptor's flags changes nothing, whether it is open or not.
        let flags = unsafe { libc::fcntl(libc::STDOUT_FILENO, libc::F_GETFD) };
        NO_STDOUT.store(flags == -1, Ordering::Relaxed);
    }
}

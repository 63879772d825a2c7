//! What the system does to the program behind its back.

/// Makes a file that grows beyond the limit of its size (`ulimit -f`) a failed write, which is reported and leaves nothing,
/// instead of the program's end.
pub(crate) fn survive_large_files() {
    #[cfg(unix)]
    {
        // Any handler will do. Without one, the program ends as it did.
        let caught = std::sync::Arc::default();
        let _ = signal_hook::flag::register(signal_hook::consts::SIGXFSZ, caught);
    }
}

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

//! How a call ended.

use std::any::Any;
use std::cell::RefCell;
use std::ffi::{CString, c_char};
use std::panic::{AssertUnwindSafe, catch_unwind};

use mnx::ErrorKind;

/// How a call ended. Later versions may add more: take every one but `MNX_OK` for a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum mnx_status {
    /// All went well.
    MNX_OK = 0,
    /// An argument that cannot be: NULL, a wrong length or shape, a number out of range, an unknown name. The program is
    /// wrong.
    MNX_INVALID_INPUT = 1,
    /// There is no such file.
    MNX_NOT_FOUND = 2,
    /// The system could not open or read a file, or start a thread. Another time it may.
    MNX_IO = 3,
    /// A file or its bytes are damaged or of another kind. Another copy may help.
    MNX_INVALID_FILE = 4,
    /// All is well formed, but this version, this build or this CPU does not do it.
    MNX_UNSUPPORTED = 5,
    /// Something is larger than the limits allow, which keep a file from taking all of a machine's memory or time: 512 MiB of
    /// weights in f32, 4 GiB of a session's memory, 256 MiB of a picture file or of memory to decode it, and others. The
    /// sentence names the limit.
    MNX_LIMIT = 6,
    /// The machine did not give enough memory.
    MNX_MEMORY = 7,
    /// Another thread ended the inference: `mnx_stopper_stop`.
    MNX_STOPPED = 8,
    /// Another thread is in a call with the same handle. Nothing happened to either.
    MNX_BUSY = 9,
    /// A defect of the library. The handle that was in use, if any, can only be released.
    MNX_INTERNAL = 10,
}

/// What went wrong: a status and a sentence.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) status: mnx_status,
    message: String,
}

impl Failure {
    pub(crate) fn new(status: mnx_status, message: impl Into<String>) -> Failure {
        Failure { status, message: message.into() }
    }

    /// An argument is not what it has to be.
    pub(crate) fn argument(what: &str, expected: impl std::fmt::Display, found: impl std::fmt::Display) -> Failure {
        Failure::new(mnx_status::MNX_INVALID_INPUT, format!("{what}: expected {expected}, found {found}"))
    }

    fn panic(payload: &(dyn Any + Send)) -> Failure {
        let said = payload.downcast_ref::<&str>().copied().or(payload.downcast_ref::<String>().map(String::as_str));
        let message = format!("a defect of the library, please report it: {}", said.unwrap_or("no message"));
        Failure::new(mnx_status::MNX_INTERNAL, message)
    }
}

impl From<mnx::Error> for Failure {
    fn from(error: mnx::Error) -> Failure {
        let status = match error.kind() {
            ErrorKind::InvalidInput => mnx_status::MNX_INVALID_INPUT,
            ErrorKind::NotFound => mnx_status::MNX_NOT_FOUND,
            ErrorKind::Io => mnx_status::MNX_IO,
            ErrorKind::InvalidFile => mnx_status::MNX_INVALID_FILE,
            ErrorKind::Limit => mnx_status::MNX_LIMIT,
            ErrorKind::Memory => mnx_status::MNX_MEMORY,
            ErrorKind::Stopped => mnx_status::MNX_STOPPED,
            _ => mnx_status::MNX_UNSUPPORTED,
        };
        Failure::new(status, error.to_string())
    }
}

impl From<mnx::GraphError> for Failure {
    fn from(error: mnx::GraphError) -> Failure {
        mnx::Error::from(error).into()
    }
}

impl From<mnx::TensorError> for Failure {
    fn from(error: mnx::TensorError) -> Failure {
        mnx::Error::from(error).into()
    }
}

thread_local! {
    static LAST: RefCell<Option<CString>> = const { RefCell::new(None) };
}

/// Keeps a failure's sentence for [`mnx_last_error`].
fn remember(message: String) {
    // Paths of strangers are in it: it stays one line, and drives no terminal.
    let message = CString::new(mnx::unstable::shown(&message, usize::MAX)).unwrap_or_default();
    // A thread that is ending has no last error any more.
    let _ = LAST.try_with(|last| {
        if let Ok(mut last) = last.try_borrow_mut() {
            *last = Some(message);
        }
    });
}

/// Runs what a function of C does. No panic leaves it.
pub(crate) fn guard(work: impl FnOnce() -> Result<(), Failure>) -> mnx_status {
    let failure = match catch_unwind(AssertUnwindSafe(work)) {
        Ok(Ok(())) => return mnx_status::MNX_OK,
        Ok(Err(failure)) => failure,
        Err(payload) => {
            let failure = Failure::panic(&*payload);
            // Its own drop could panic again.
            std::mem::forget(payload);
            failure
        }
    };
    remember(failure.message);
    failure.status
}

/// What went wrong in this thread's last call that failed, one sentence in UTF-8. Empty, never NULL, if none failed yet.
/// Calls that succeed leave it as it is.
///
/// The string belongs to the library and is valid until the thread's next call that fails, or until the thread ends.
#[unsafe(no_mangle)]
pub extern "C" fn mnx_last_error() -> *const c_char {
    let message = LAST.try_with(|last| Some(last.try_borrow().ok()?.as_ref()?.as_ptr()));
    message.ok().flatten().unwrap_or(c"".as_ptr())
}

/// A status in words, e.g. `not found`, and `unknown` for a number that is none. A string that lives as long as the process.
#[unsafe(no_mangle)]
pub extern "C" fn mnx_status_name(status: i32) -> *const c_char {
    use mnx_status::*;
    const NAMES: [(mnx_status, &std::ffi::CStr); 11] = [
        (MNX_OK, c"ok"),
        (MNX_INVALID_INPUT, c"invalid input"),
        (MNX_NOT_FOUND, c"not found"),
        (MNX_IO, c"input or output"),
        (MNX_INVALID_FILE, c"invalid file"),
        (MNX_UNSUPPORTED, c"unsupported"),
        (MNX_LIMIT, c"limit"),
        (MNX_MEMORY, c"memory"),
        (MNX_STOPPED, c"stopped"),
        (MNX_BUSY, c"busy"),
        (MNX_INTERNAL, c"internal"),
    ];
    let known = NAMES.iter().find(|(known, _)| *known as i32 == status);
    known.map_or(c"unknown", |(_, name)| name).as_ptr()
}

#[cfg(test)]
mod tests {
    use std::ffi::CStr;

    use super::*;

    fn last_error() -> String {
        // SAFETY: the library's string, and no call in between.
        unsafe { CStr::from_ptr(mnx_last_error()) }.to_str().unwrap().to_owned()
    }

    #[test]
    fn panics_become_statuses() {
        assert_eq!(guard(|| panic!("on purpose, {}", 1)), mnx_status::MNX_INTERNAL);
        assert_eq!(last_error(), "a defect of the library, please report it: on purpose, 1");
        struct Bomb;
        impl Drop for Bomb {
            fn drop(&mut self) {
                panic!("when dropped");
            }
        }
        assert_eq!(guard(|| std::panic::panic_any(Bomb)), mnx_status::MNX_INTERNAL);
        assert_eq!(last_error(), "a defect of the library, please report it: no message");
    }

    #[test]
    fn each_thread_has_its_last_error() {
        guard(|| Err(Failure::argument("a\0b\n\x1b[2J", "c", "d")));
        let message = "a\\u{0}b\\n\\u{1b}[2J: expected c, found d";
        assert_eq!(last_error(), message);
        std::thread::spawn(|| assert_eq!(last_error(), "")).join().unwrap();
        assert_eq!(guard(|| Ok(())), mnx_status::MNX_OK);
        assert_eq!(last_error(), message);
    }
}

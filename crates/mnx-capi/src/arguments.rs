//! What C hands over, checked as far as it can be.

use std::ffi::{CStr, c_char};
use std::fmt::Display;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, TryLockError};

use crate::status::{Failure, guard, mnx_status};

/// What a handle points to.
///
/// # Safety
/// `handle` is NULL or a handle of this library that is not released while the result is in use.
pub(crate) unsafe fn handle<'a, T>(handle: *const T, what: &str) -> Result<&'a T, Failure> {
    check(handle, 1, what, "a handle")?;
    // SAFETY: not NULL, aligned; the rest is the caller's promise.
    Ok(unsafe { &*handle })
}

/// Locks what only one call at a time may use.
pub(crate) fn enter<'a, T>(mutex: &'a Mutex<T>, what: &str) -> Result<MutexGuard<'a, T>, Failure> {
    mutex.try_lock().map_err(|error| match error {
        TryLockError::WouldBlock => {
            let message = format!("{what}: expected one call at a time, found another thread in a call with it");
            Failure::new(mnx_status::MNX_BUSY, message)
        }
        TryLockError::Poisoned(_) => {
            let message =
                format!("{what}: expected a usable one, found one that a defect of the library has left unusable");
            Failure::new(mnx_status::MNX_INTERNAL, message)
        }
    })
}

/// `len` values at `data`, which may be NULL if that is 0: so C++ hands over empty vectors.
///
/// # Safety
/// Unless `data` is NULL or misaligned, it points to `len` values that do not change while the result is in use.
pub(crate) unsafe fn values<'a, T: Copy>(data: *const T, len: usize, what: &str) -> Result<&'a [T], Failure> {
    if data.is_null() && len == 0 {
        return Ok(&[]);
    }
    check(data, len, what, format_args!("a pointer to {len} values"))?;
    // SAFETY: not NULL, aligned, no longer than memory can be; the rest is the caller's promise.
    Ok(unsafe { std::slice::from_raw_parts(data, len) })
}

/// That `len` values can be at `data`, which is to be what `expected` says.
fn check<T>(data: *const T, len: usize, what: &str, expected: impl Display) -> Result<(), Failure> {
    if data.is_null() {
        return Err(Failure::argument(what, expected, "NULL"));
    }
    if !data.is_aligned() {
        return Err(Failure::argument(
            what,
            format_args!("a multiple of {} bytes", align_of::<T>()),
            "another address",
        ));
    }
    let most = isize::MAX as usize / size_of::<T>().max(1);
    if len > most {
        return Err(Failure::argument(what, format_args!("at most {most} values"), len));
    }
    Ok(())
}

/// A string in UTF-8 that ends with NUL.
///
/// # Safety
/// `text` is NULL, or a string that ends with NUL and does not change while the result is in use.
pub(crate) unsafe fn text<'a>(text: *const c_char, what: &str) -> Result<&'a str, Failure> {
    if text.is_null() {
        return Err(Failure::argument(what, "a string", "NULL"));
    }
    // SAFETY: not NULL; the rest is the caller's promise.
    let text = unsafe { CStr::from_ptr(text) };
    text.to_str().map_err(|_| Failure::argument(what, "UTF-8", format_args!("{:?}", text.to_string_lossy())))
}

/// A path: on Unix any bytes, elsewhere UTF-8.
///
/// # Safety
/// As [`text`].
pub(crate) unsafe fn path<'a>(path: *const c_char) -> Result<&'a Path, Failure> {
    #[cfg(unix)]
    {
        use std::os::unix::ffi::OsStrExt;
        if path.is_null() {
            return Err(Failure::argument("path", "a string", "NULL"));
        }
        // SAFETY: not NULL; the rest is the caller's promise.
        let bytes = unsafe { CStr::from_ptr(path) }.to_bytes();
        Ok(Path::new(std::ffi::OsStr::from_bytes(bytes)))
    }
    #[cfg(not(unix))]
    {
        // SAFETY: the caller's promise.
        Ok(Path::new(unsafe { text(path, "path") }?))
    }
}

/// Four sizes: pictures, channels, rows, columns.
///
/// # Safety
/// `shape` is NULL, misaligned, or points to four sizes.
pub(crate) unsafe fn shape(shape: *const usize) -> Result<[usize; 4], Failure> {
    // SAFETY: the caller's promise.
    let sizes = unsafe { values(shape, 4, "shape") }?;
    Ok([sizes[0], sizes[1], sizes[2], sizes[3]])
}

/// Room in the caller's memory. Nothing is read from it: it need not be initialised.
pub(crate) struct Room<T> {
    data: *mut T,
    len: usize,
    what: &'static str,
}

impl<T: Copy> Room<T> {
    /// Room for `len` values at `data`, which may be NULL if that is 0.
    ///
    /// # Safety
    /// Unless `data` is NULL or misaligned, `len` values may be written to it as long as this lives.
    pub(crate) unsafe fn new(data: *mut T, len: usize, what: &'static str) -> Result<Room<T>, Failure> {
        if len > 0 {
            check(data, len, what, format_args!("room for {len} values"))?;
        }
        Ok(Room { data, len, what })
    }

    /// Room for one value.
    ///
    /// # Safety
    /// As [`Room::new`].
    pub(crate) unsafe fn one(data: *mut T, what: &'static str) -> Result<Room<T>, Failure> {
        // SAFETY: the caller's promise.
        unsafe { Room::new(data, 1, what) }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Writes values from the beginning on; none that do not fit.
    pub(crate) fn write(&mut self, values: impl IntoIterator<Item = T>) {
        for (index, value) in values.into_iter().take(self.len).enumerate() {
            // SAFETY: `index` is below `len`, for which there is room, as `new`'s caller promised.
            unsafe { self.data.add(index).write(value) };
        }
    }

    /// That there is room for exactly so many values: to be asked before they are computed.
    pub(crate) fn expect(&self, needed: usize) -> Result<(), Failure> {
        if needed == self.len {
            return Ok(());
        }
        Err(Failure::argument(self.what, format_args!("room for {needed} values"), self.len))
    }

    /// Fills it with exactly as many values.
    pub(crate) fn fill(&mut self, values: &[T]) -> Result<(), Failure> {
        self.expect(values.len())?;
        // SAFETY: as many values as there is room for. They are the library's own, so the caller's memory is another one.
        unsafe { std::ptr::copy_nonoverlapping(values.as_ptr(), self.data, self.len) };
        Ok(())
    }
}

/// Makes a handle, which threads may share. `out` is NULL after a failure.
///
/// # Safety
/// `out` is NULL, misaligned, or may be written.
pub(crate) unsafe fn create<T: Send + Sync>(out: *mut *mut T, make: impl FnOnce() -> Result<T, Failure>) -> mnx_status {
    guard(|| {
        // SAFETY: the caller's promise.
        let mut out = unsafe { Room::one(out, "where the handle goes") }?;
        out.write([std::ptr::null_mut()]);
        out.write([Box::into_raw(Box::new(make()?))]);
        Ok(())
    })
}

/// Ends a handle. NULL is fine; what can be no handle is left alone.
///
/// # Safety
/// `handle` is NULL, or [`create`] made it, and it is used nowhere from now on.
pub(crate) unsafe fn release<T>(handle: *mut T) {
    if !handle.is_null() {
        guard(|| {
            check(handle, 1, "what is released", "a handle")?;
            // SAFETY: aligned; the rest is the caller's promise.
            drop(unsafe { Box::from_raw(handle) });
            Ok(())
        });
    }
}

/// Answers a question with one value.
///
/// # Safety
/// `out` is NULL, misaligned, or may be written.
pub(crate) unsafe fn answer<T: Copy>(out: *mut T, value: impl FnOnce() -> Result<T, Failure>) -> mnx_status {
    guard(|| {
        // SAFETY: the caller's promise.
        let mut out = unsafe { Room::one(out, "where the answer goes") }?;
        out.write([value()?]);
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_call_at_a_time() {
        let mutex = Mutex::new(1);
        let entered = enter(&mutex, "session").unwrap();
        assert_eq!(enter(&mutex, "session").unwrap_err().status, mnx_status::MNX_BUSY);
        drop(entered);
        assert_eq!(*enter(&mutex, "session").unwrap(), 1);
    }

    #[test]
    fn a_panic_leaves_the_handle_unusable() {
        let mutex = Mutex::new(1);
        let panics = || {
            let _entered = enter(&mutex, "session")?;
            panic!("on purpose");
        };
        assert_eq!(guard(panics), mnx_status::MNX_INTERNAL);
        assert_eq!(enter(&mutex, "session").unwrap_err().status, mnx_status::MNX_INTERNAL);
    }

    #[test]
    fn pointers_that_cannot_be() {
        let numbers = [1_u32, 2];
        let odd = numbers.as_ptr().cast::<u8>().wrapping_add(1).cast::<u32>();
        for (data, len) in [(std::ptr::null(), 1), (odd, 1), (numbers.as_ptr(), usize::MAX / 4)] {
            // SAFETY: NULL, misaligned, or longer than memory can be: it is not read.
            let failure = unsafe { values(data, len, "numbers") }.unwrap_err();
            assert_eq!(failure.status, mnx_status::MNX_INVALID_INPUT);
        }
        // SAFETY: NULL: it is not read.
        assert!(unsafe { values::<u32>(std::ptr::null(), 0, "numbers") }.unwrap().is_empty());
        // SAFETY: misaligned: it is not read.
        let failure = unsafe { handle(odd, "number") }.unwrap_err();
        assert_eq!(failure.status, mnx_status::MNX_INVALID_INPUT);
        // SAFETY: misaligned: it is left alone.
        unsafe { release(odd.cast_mut()) };
        // SAFETY: a number that is there.
        assert_eq!(unsafe { handle(&numbers[1], "number") }.unwrap(), &2);
        // SAFETY: two numbers.
        assert_eq!(unsafe { values(numbers.as_ptr(), 2, "numbers") }.unwrap(), numbers);
    }

    #[test]
    fn rooms_are_filled_exactly() {
        let mut numbers = [0_u32; 3];
        // SAFETY: room for three.
        let mut room = unsafe { Room::new(numbers.as_mut_ptr(), 2, "numbers") }.unwrap();
        assert_eq!(room.fill(&[1]).unwrap_err().status, mnx_status::MNX_INVALID_INPUT);
        assert_eq!(room.expect(3).unwrap_err().status, mnx_status::MNX_INVALID_INPUT);
        room.expect(2).unwrap();
        room.fill(&[1, 2]).unwrap();
        room.write([5, 6, 7]);
        assert_eq!(numbers, [5, 6, 0]);
        // SAFETY: no room at all.
        unsafe { Room::<u32>::new(std::ptr::null_mut(), 0, "numbers") }.unwrap().fill(&[]).unwrap();
    }
}

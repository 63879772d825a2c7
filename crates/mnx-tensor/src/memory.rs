//! Vectors whose length a file or a caller chose: where there is no memory for them, that is an error and not the process's end.

use bytemuck::Zeroable;

use crate::Error;

/// An empty vector with room for `len` elements.
///
/// # Errors
/// [`Error::Memory`] when there is no memory for them.
pub fn room<T>(len: usize) -> Result<Vec<T>, Error> {
    let mut room = Vec::new();
    room.try_reserve_exact(len).map_err(|_| Error::Memory { bytes: len.saturating_mul(size_of::<T>()) })?;
    Ok(room)
}

/// `len` zeros: large ones come from the operating system as pages that cost nothing before they are written to.
///
/// # Errors
/// As [`room`].
pub fn zeros<T: Zeroable>(len: usize) -> Result<Vec<T>, Error> {
    let zeros = bytemuck::allocation::try_zeroed_vec(len);
    zeros.map_err(|()| Error::Memory { bytes: len.saturating_mul(size_of::<T>()) })
}

/// `len` times the same.
///
/// # Errors
/// As [`room`].
pub fn filled<T: Clone>(value: T, len: usize) -> Result<Vec<T>, Error> {
    let mut filled = room(len)?;
    filled.resize(len, value);
    Ok(filled)
}

/// The first `len` of `values`, or as many as there are.
///
/// ```
/// let squares = mnx_tensor::memory::collect((0..).map(|n| n * n), 4)?;
/// assert_eq!(squares, [0, 1, 4, 9]);
/// # Ok::<(), mnx_tensor::Error>(())
/// ```
///
/// # Errors
/// As [`room`].
pub fn collect<T>(values: impl IntoIterator<Item = T>, len: usize) -> Result<Vec<T>, Error> {
    let mut collected = room(len)?;
    collected.extend(values.into_iter().take(len));
    Ok(collected)
}

/// A copy.
///
/// # Errors
/// As [`room`].
pub fn copy<T: Clone>(values: &[T]) -> Result<Vec<T>, Error> {
    let mut copy = room(values.len())?;
    copy.extend_from_slice(values);
    Ok(copy)
}

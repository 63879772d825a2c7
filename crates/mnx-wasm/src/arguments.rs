//! Numbers from JavaScript, which are all f64, and memory for what comes from there.

use crate::failure::Failure;

/// The largest number that a 32-bit program can count to.
const MOST: f64 = u32::MAX as f64;

/// A count: a whole number from `least` to 2³² - 1.
///
/// ```
/// use mnx_wasm::arguments::count;
/// assert_eq!(count("width", 224.0, 1), Ok(224));
/// assert!(count("width", 0.5, 1).is_err());
/// ```
///
/// # Errors
/// `InvalidInput` for every other number.
pub fn count(what: &str, value: f64, least: u32) -> Result<usize, Failure> {
    let whole = value.fract() == 0.0 && (f64::from(least)..=MOST).contains(&value);
    if !whole {
        return Err(Failure::input(what, &format!("a whole number from {least} to {MOST}"), value));
    }
    Ok(value as u32 as usize)
}

/// The shape of an input: pictures, channels, rows, columns.
///
/// # Errors
/// `InvalidInput` if there are not four whole numbers.
pub fn shape(values: &[f64]) -> Result<[usize; 4], Failure> {
    let &[n, c, h, w] = values else { return Err(not_four(values.len() as f64)) };
    Ok([count("shape", n, 0)?, count("shape", c, 0)?, count("shape", h, 0)?, count("shape", w, 0)?])
}

/// The error for a shape of another length than four.
#[must_use]
pub fn not_four(length: f64) -> Failure {
    Failure::input("shape", "four numbers: pictures, channels, rows, columns", format!("{length} numbers"))
}

/// Makes `buffer` so long, with zeros where it grows.
///
/// # Errors
/// `Memory` if there is not enough; the buffer stays as it was.
pub fn resize<T: Clone + Default>(what: &str, buffer: &mut Vec<T>, length: usize) -> Result<(), Failure> {
    let more = length.saturating_sub(buffer.len());
    // Exactly: twice the length of a picture may be more than there is.
    if buffer.try_reserve_exact(more).is_err() {
        return Err(Failure::memory(what, length.saturating_mul(size_of::<T>())));
    }
    buffer.resize(length, T::default());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts() {
        assert_eq!(count("k", 5.0, 1), Ok(5));
        assert_eq!(count("k", 0.0, 0), Ok(0));
        assert_eq!(count("k", MOST, 1), Ok(u32::MAX as usize));
        for wrong in [f64::NAN, f64::INFINITY, -1.0, 0.0, 1.5, MOST + 1.0] {
            let failure = count("k", wrong, 1).unwrap_err();
            assert_eq!(failure.kind, "InvalidInput");
            let expected = format!("k: expected a whole number from 1 to 4294967295, found {wrong}");
            assert_eq!(failure.message, expected);
        }
    }

    #[test]
    fn shapes() {
        assert_eq!(shape(&[1.0, 3.0, 32.0, 31.0]), Ok([1, 3, 32, 31]));
        let failure = shape(&[3.0, 32.0, 32.0]).unwrap_err();
        assert_eq!(failure.message, "shape: expected four numbers: pictures, channels, rows, columns, found 3 numbers");
        assert!(shape(&[1.0, 3.0, 32.0, -1.0]).is_err());
    }

    #[test]
    fn memory_that_is_not_there() {
        let mut buffer = vec![1_u8; 4];
        let failure = resize("frame", &mut buffer, usize::MAX / 2 + 1).unwrap_err();
        assert_eq!(failure.kind, "Memory");
        assert_eq!(buffer, [1; 4]);
        resize("frame", &mut buffer, 6).unwrap();
        assert_eq!(buffer, [1, 1, 1, 1, 0, 0]);
    }
}

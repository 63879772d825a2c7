//! A weight file inside the program.

/// Aligns `bytes` as weights need it; [`include_model!`](crate::include_model) uses it.
#[doc(hidden)]
#[derive(Debug)]
#[repr(C, align(64))]
pub struct Aligned<T: ?Sized> {
    /// The file.
    pub bytes: T,
}

/// Makes a weight file part of the program. The result is a `&'static [u8]` as from `include_bytes!`, but aligned, so that
/// [`Model::from_bytes`](crate::Model::from_bytes) uses it in place, without a copy. The path is relative to the source file.
///
/// ```no_run
/// # mod mnx {
/// #     pub use mnx_graph::*;
/// #     macro_rules! include_model { ($path:literal) => { &[0_u8; 64] as &'static [u8] } }
/// #     pub(crate) use include_model;
/// # }
/// # fn main() -> Result<(), mnx_graph::Error> {
/// let model = mnx::Model::from_bytes(mnx::include_model!("mobilenext.mnx"))?;
/// # Ok(())
/// # }
/// ```
#[macro_export]
macro_rules! include_model {
    ($path:expr $(,)?) => {{
        static MODEL: &$crate::Aligned<[u8]> = &$crate::Aligned { bytes: *::core::include_bytes!($path) };
        &MODEL.bytes
    }};
}

#[cfg(test)]
mod tests {
    #[test]
    fn included_bytes_are_the_file_and_aligned() {
        let bytes: &'static [u8] = crate::include_model!("include.rs");
        assert!(bytes.starts_with("//! A weight file inside the program.".as_bytes()));
        assert_eq!(bytes.as_ptr() as usize % 64, 0);
    }
}

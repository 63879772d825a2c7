//! Who runs a session's inferences: many threads with the feature `rayon`, else the calling one alone. Both twins have the same
//! items.

#[cfg(feature = "rayon")]
mod many;
#[cfg(not(feature = "rayon"))]
mod one;

#[cfg(feature = "rayon")]
pub(crate) use many::Crew;
#[cfg(not(feature = "rayon"))]
pub(crate) use one::Crew;

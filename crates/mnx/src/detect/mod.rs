//! From a detector's raw outputs to boxes on a picture.
//!
//! ```text
//! scores  N x priors x classes  ─ softmax or sigmoid ─ above the threshold? ─┐
//! boxes   N x priors x 4        ─ decoded beside the priors ─────────────────┴─ suppression per class ─ best of all ─ pixels
//! ```

mod boxes;
mod detector;
mod exp;
mod options;
mod postprocess;
mod scores;
#[cfg(test)]
mod tests;

pub use detector::{Detection, Detections, Detector};
pub use options::DetectOptions;
pub use postprocess::{PostProcessor, ScoredBox};

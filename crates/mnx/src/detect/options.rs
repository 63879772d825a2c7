//! What a caller can ask of a detector.

use crate::Error;

/// Which boxes a [`Detector`](crate::Detector) gives. What is not set is the model's own default.
///
/// ```
/// let options = mnx::DetectOptions::new().score(0.5).top(10);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[must_use]
#[non_exhaustive]
pub struct DetectOptions {
    /// See [`DetectOptions::score`].
    pub score: Option<f32>,
    /// See [`DetectOptions::iou`].
    pub iou: Option<f32>,
    /// See [`DetectOptions::top`].
    pub top: Option<usize>,
    /// See [`DetectOptions::clip`].
    pub clip: Option<bool>,
}

impl DetectOptions {
    /// The model's defaults.
    pub fn new() -> DetectOptions {
        DetectOptions::default()
    }

    /// Boxes count if their score is above this, 0…1. An equal score is not enough.
    pub fn score(mut self, score: f32) -> DetectOptions {
        self.score = Some(score);
        self
    }

    /// A box is dropped if its intersection over union with a better one of its class is above this, 0…1.
    pub fn iou(mut self, iou: f32) -> DetectOptions {
        self.iou = Some(iou);
        self
    }

    /// At most this many boxes, from 1 on: the best of all classes.
    pub fn top(mut self, top: usize) -> DetectOptions {
        self.top = Some(top);
        self
    }

    /// Whether boxes are cut off at the picture's edges, after everything else.
    pub fn clip(mut self, clip: bool) -> DetectOptions {
        self.clip = Some(clip);
        self
    }

    /// # Errors
    /// [`Error::DetectOption`] for a threshold outside 0…1, NaN included, and for no boxes at all.
    pub(super) fn check(&self) -> Result<(), Error> {
        for (option, value) in [("score", self.score), ("iou", self.iou)] {
            if let Some(value) = value.filter(|value| !(0.0..=1.0).contains(value)) {
                return Err(Error::DetectOption { option, expected: "from 0 to 1", found: value.to_string() });
            }
        }
        match self.top {
            Some(0) => Err(Error::DetectOption { option: "top", expected: "at least 1", found: "0".into() }),
            _ => Ok(()),
        }
    }
}

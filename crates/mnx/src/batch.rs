//! Several pictures through one session, some at a time.

use mnx_graph::{Outputs, Session};
use mnx_tensor::TensorView;

use crate::preprocess::Placement;
use crate::{Error, Frame, Preprocessor};

/// Pictures for each thread that a session is given at a time: enough to keep all threads busy, and few enough for the memory of
/// their inputs.
const AT_A_TIME: usize = 4;

/// The inputs of those pictures that are in work. The memory is kept.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    inputs: Vec<f32>,
    placements: Vec<Placement>,
}

impl Batch {
    /// Prepares and runs all `pictures`. `each` is called for each of them, in their order, with the outputs that it is in, its
    /// index there, and where its input lies.
    ///
    /// # Errors
    /// As [`Preprocessor::process_into`], [`Session::run`] and `each`.
    pub(crate) fn run<'p, F: Into<Frame<'p>>>(
        &mut self,
        session: &mut Session,
        preprocessor: &mut Preprocessor,
        pictures: impl IntoIterator<Item = F>,
        mut each: impl FnMut(&Outputs, usize, &Placement) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let (elements, side) = (preprocessor.elements(), preprocessor.resolution());
        let mut pictures = pictures.into_iter().peekable();
        let most = at_a_time(session, preprocessor, pictures.size_hint().1);
        while pictures.peek().is_some() {
            self.placements.clear();
            for picture in pictures.by_ref().take(most) {
                let frame = picture.into();
                let start = self.placements.len() * elements;
                if self.inputs.len() == start {
                    self.inputs.try_reserve_exact(elements).map_err(|_| no_memory(elements))?;
                    self.inputs.resize(start + elements, 0.0);
                }
                preprocessor.process_into(frame, &mut self.inputs[start..start + elements])?;
                self.placements.push(preprocessor.placement(frame));
            }
            let count = self.placements.len();
            let outputs = session.run(TensorView::new([count, 3, side, side], &self.inputs[..count * elements])?)?;
            for (picture, placement) in self.placements.iter().enumerate() {
                each(&outputs, picture, placement)?;
            }
        }
        Ok(())
    }
}

/// How many of so many pictures go through the session at once: as many as keep its threads busy, or fewer, where their
/// inputs and the arena together would be larger than the model's limit for the arena.
fn at_a_time(session: &mut Session, preprocessor: &Preprocessor, pictures: Option<usize>) -> usize {
    let (side, bytes) = (preprocessor.resolution(), preprocessor.elements() * size_of::<f32>());
    let mut most = AT_A_TIME * session.threads();
    most = pictures.unwrap_or(most).clamp(1, most);
    while most > 1 {
        let prepared = session.prepare([most, 3, side, side]);
        let found = most.saturating_mul(bytes).saturating_add(session.arena_bytes());
        if prepared.is_ok() && found as u64 <= session.model().limits().arena_bytes {
            break;
        }
        most /= 2;
    }
    most
}

fn no_memory(elements: usize) -> Error {
    mnx_tensor::Error::Memory { bytes: elements * size_of::<f32>() }.into()
}

#[cfg(test)]
mod tests {
    use mnx_graph::{Fit, Model, SessionOptions, Spec};

    use super::*;
    use crate::{Classifier, Detector};

    /// More than go through a session at once, of several sizes.
    fn frames(pixels: &[u8]) -> Vec<Frame<'_>> {
        let sizes = (0..11).map(|n| (40 + 7 * n, 90 - 5 * n));
        sizes.map(|(width, height)| Frame::rgb8(&pixels[width..], width, height, 3 * width).unwrap()).collect()
    }

    #[test]
    fn pictures_of_a_batch_are_as_alone() {
        let pixels: Vec<u8> = (0_u32..40_000).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        let frames = frames(&pixels);
        let mut spec = Spec::family("mobilenext-cifar").unwrap();
        spec.width = 0.1;
        let model = Model::from_bytes(mnx_graph::init(&spec, 1).unwrap()).unwrap();
        let mut classifier = Classifier::with(&model, SessionOptions::new().threads(1)).unwrap();
        let alone: Vec<_> = frames.iter().map(|&frame| classifier.classify(frame, 3).unwrap()).collect();
        assert_eq!(classifier.classify_batch(frames.iter().copied(), 3).unwrap(), alone);

        let mut spec = Spec::family("ssdlite-mobilenext").unwrap();
        spec.width = 0.1;
        spec.set_resolution(64);
        for fit in [Fit::Crop, Fit::Squash] {
            spec.preprocessing.fit = fit;
            let model = Model::from_bytes(mnx_graph::init(&spec, 1).unwrap()).unwrap();
            let mut detector = Detector::with(&model, SessionOptions::new().threads(1)).unwrap();
            let alone: Vec<Vec<_>> = frames.iter().map(|&frame| detector.detect(frame).unwrap().collect()).collect();
            assert!(alone.iter().all(|found| !found.is_empty()));
            assert_eq!(detector.detect_batch(frames.iter().copied()).unwrap(), alone);
        }
        assert!(classifier.classify_batch(std::iter::empty::<Frame>(), 3).unwrap().is_empty());
    }
}

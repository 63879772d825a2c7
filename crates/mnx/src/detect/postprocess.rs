//! Thresholds, suppression and the best boxes of a picture.

use mnx_graph::{BoxCoder, DetectorSpec};
use mnx_tensor::memory;

use super::boxes::{Corners, area, decode, iou};
use super::options::DetectOptions;
use super::scores::{Candidate, Collector, Scorer};
use crate::Error;
use crate::preprocess::Placement;

/// Memory for so many candidates or boxes is there from the start, and for more from when they first come.
const RESERVED: usize = 1 << 20;
/// The end of a chain of boxes.
const NONE: u32 = u32::MAX;

/// A box on a picture, with its class and score.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct ScoredBox {
    /// Index of the class, from 1 on: 0 is the background.
    pub class: usize,
    /// Row of the prior in the detector's outputs.
    pub prior: usize,
    /// Above the threshold, at most 1.
    pub score: f32,
    /// Left edge, in pixels of the original picture from its left edge on.
    pub xmin: f32,
    /// Upper edge, in pixels from the picture's upper edge on.
    pub ymin: f32,
    /// Right edge.
    pub xmax: f32,
    /// Lower edge.
    pub ymax: f32,
}

/// A box that was kept, in pixels of the network's input.
#[derive(Clone, Copy, Debug)]
struct Kept {
    corners: Corners,
    area: f32,
    /// The box of the same class that was kept before it.
    previous: u32,
}

/// Makes boxes of a detector's raw outputs. Buffers are kept: in a warm call nothing is allocated.
///
/// A class's score in a row is its softmax over the row, or its logit's sigmoid. It counts if it is strictly above the
/// threshold. Of the boxes that count, the best comes first: the one with the highest score, then with the lowest class, then
/// with the lowest prior. A box is dropped if its intersection over union with a better one of the same class, which was
/// kept, is strictly above the limit. At most `top` boxes are kept.
///
/// A NaN score is above nothing. A box with a corner that is not finite is dropped, and suppresses nothing.
///
/// [`Detector`](crate::Detector) has one; by itself it serves programs that get the outputs from elsewhere.
///
/// ```
/// use mnx::{DetectOptions, PostProcessor, Spec};
///
/// # fn main() -> Result<(), mnx::Error> {
/// let spec: Result<mnx::DetectorSpec, _> = serde_json::from_str(
///     r#"{"taps": [{"block": 1}], "extras": [], "priors": [{"scales": [[0.5, 1.0]]}], "coder": {"centre": 0.1, "size": 0.2},
///         "scores": "softmax", "score": 0.1, "iou": 0.5, "top": 10}"#,
/// );
/// let spec = spec.expect("a detector");
/// let priors = spec.priors(&[(2, 2)], 32)?;
/// let mut post = PostProcessor::new(&spec, 2, priors, 32)?;
///
/// // Only the last cell sees something.
/// let scores = [9.0, 0.0, 9.0, 0.0, 9.0, 0.0, 0.0, 9.0];
/// let found = post.process(&scores, &[0.0; 16], 640, 480)?;
/// assert_eq!((found.len(), found[0].class, found[0].prior), (1, 1, 3));
/// assert_eq!([found[0].xmin, found[0].ymin, found[0].xmax, found[0].ymax], [320.0, 240.0, 640.0, 480.0]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct PostProcessor {
    coder: BoxCoder,
    /// Centre's x and y, width, height; fractions of the picture.
    priors: Vec<[f32; 4]>,
    classes: usize,
    /// Of the network's input, in pixels.
    side: f32,
    defaults: Settings,
    settings: Settings,
    scorer: Scorer,
    candidates: Vec<Candidate>,
    /// For each class, the box that was kept last.
    last_of_class: Vec<u32>,
    kept: Vec<Kept>,
    found: Vec<ScoredBox>,
}

/// Options without any left open.
#[derive(Clone, Copy, Debug)]
struct Settings {
    score: f32,
    iou: f32,
    top: usize,
    clip: bool,
}

impl PostProcessor {
    /// For a detector of `classes` classes, the background included. `priors` are those of
    /// [`DetectorSpec::priors`]; `resolution` is the side of the network's input in pixels.
    ///
    /// # Errors
    /// [`Error::DetectOption`] if the spec's thresholds are outside their range, and [`Error::Heads`] if there are no classes
    /// beside the background, no priors, more than 2³² - 1 scores, or if the resolution is 0.
    pub fn new(spec: &DetectorSpec, classes: usize, priors: Vec<[f32; 4]>, resolution: usize) -> Result<Self, Error> {
        let scores = classes.checked_mul(priors.len()).filter(|&scores| u32::try_from(scores).is_ok());
        if scores.is_none() || classes < 2 || priors.is_empty() {
            let expected = "priors and at least 2 classes, and at most 4294967295 scores".into();
            return Err(Error::Heads { expected, found: format!("{} priors, {classes} classes", priors.len()) });
        }
        if resolution == 0 {
            return Err(Error::Heads { expected: "a resolution of at least 1".into(), found: "0".into() });
        }
        let defaults = Settings { score: spec.score, iou: spec.iou, top: spec.top, clip: spec.clip_boxes };
        let mut post = PostProcessor {
            coder: spec.coder,
            classes,
            side: resolution as f32,
            defaults,
            settings: defaults,
            scorer: Scorer::new(spec.scores, classes)?,
            candidates: memory::room((priors.len() * (classes - 1)).min(RESERVED))?,
            last_of_class: memory::filled(NONE, classes)?,
            kept: Vec::new(),
            found: Vec::new(),
            priors,
        };
        post.set_options(DetectOptions::new())?;
        Ok(post)
    }

    /// Changes the thresholds. Those that are not set become the model's own.
    ///
    /// # Errors
    /// [`Error::DetectOption`] for a threshold outside 0…1 and for no boxes at all; the thresholds stay as they were.
    pub fn set_options(&mut self, options: DetectOptions) -> Result<(), Error> {
        let DetectOptions { score, iou, top, clip } = options;
        let Settings { score, iou, top, clip } = Settings {
            score: score.unwrap_or(self.defaults.score),
            iou: iou.unwrap_or(self.defaults.iou),
            top: top.unwrap_or(self.defaults.top),
            clip: clip.unwrap_or(self.defaults.clip),
        };
        DetectOptions::new().score(score).iou(iou).top(top).check()?;
        self.forget();
        let most = top.min(self.priors.len() * (self.classes - 1)).min(RESERVED);
        reserve(&mut self.found, most)?;
        reserve(&mut self.kept, most)?;
        self.settings = Settings { score, iou, top, clip };
        Ok(())
    }

    /// Number of classes, the background included.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// The priors, as they were given.
    pub fn priors(&self) -> &[[f32; 4]] {
        &self.priors
    }

    /// The boxes of one picture, the best first. `scores` and `boxes` are the network's outputs, a row for each prior;
    /// `width` and `height` are those of the original picture, in pixels, which was squashed into the network's input as a
    /// whole. Where it was cropped, [`process_at`](Self::process_at) is the one.
    ///
    /// # Errors
    /// [`Error::Heads`] if there are not as many numbers as priors and classes ask for.
    pub fn process(
        &mut self,
        scores: &[f32],
        boxes: &[f32],
        width: usize,
        height: usize,
    ) -> Result<&[ScoredBox], Error> {
        let scale = [width, height].map(|pixels| pixels as f64 / f64::from(self.side));
        self.process_at(scores, boxes, &Placement { scale, offset: [0.0; 2], size: [width, height] })
    }

    /// As [`process`](Self::process), where the input is any part of the picture: [`Preprocessor::placement`] says which.
    ///
    /// [`Preprocessor::placement`]: crate::Preprocessor::placement
    ///
    /// ```
    /// use mnx::{Frame, Model, PostProcessor, Preprocessor, Session, Spec, TensorView};
    ///
    /// # fn main() -> Result<(), mnx::Error> {
    /// # let mut spec = Spec::family("ssdlite-mobilenext").expect("a known family");
    /// # spec.width = 0.1;
    /// # spec.set_resolution(64);
    /// # let model = Model::from_bytes(mnx::init(&spec, 1)?)?;
    /// let (spec, side) = (model.spec(), model.spec().resolution);
    /// let mut preprocessor = Preprocessor::new(side, &spec.preprocessing)?;
    /// let mut session = Session::new(&model)?;
    /// let detector = spec.detector.as_ref().expect("a detector");
    /// let priors = detector.priors(&model.network().grids(side, side), side)?;
    /// let mut post = PostProcessor::new(detector, spec.classes, priors, side)?;
    ///
    /// let grey = [128; 96 * 64 * 3];
    /// let frame = Frame::rgb8(&grey, 96, 64, 96 * 3)?;
    /// let input = preprocessor.process(frame)?;
    /// let outputs = session.run(TensorView::new([1, 3, side, side], &input)?)?;
    /// let (scores, boxes) = (outputs.get("scores").expect("scores"), outputs.get("boxes").expect("boxes"));
    /// for found in post.process_at(scores.data(), boxes.data(), &preprocessor.placement(frame))? {
    ///     println!("class {} from {}, {} to {}, {}", found.class, found.xmin, found.ymin, found.xmax, found.ymax);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`process`](Self::process).
    pub fn process_at(&mut self, scores: &[f32], boxes: &[f32], placement: &Placement) -> Result<&[ScoredBox], Error> {
        let priors = self.priors.len();
        let (expected, found) = ((priors * self.classes, priors * 4), (scores.len(), boxes.len()));
        if expected != found {
            let numbers = |(scores, boxes)| format!("{scores} numbers in scores and {boxes} in boxes");
            return Err(Error::Heads { expected: numbers(expected), found: numbers(found) });
        }
        self.forget();
        // The best are enough, except where most of them lie on top of each other.
        let left = self.keep_best(scores, boxes.as_chunks::<4>().0, placement, None)?;
        if left.is_some() && self.kept.len() < self.settings.top {
            self.keep_best(scores, boxes.as_chunks::<4>().0, placement, left)?;
        }
        if self.settings.clip {
            let [right, bottom] = placement.size.map(|pixels| pixels as f32);
            for found in &mut self.found {
                (found.xmin, found.xmax) = (found.xmin.clamp(0.0, right), found.xmax.clamp(0.0, right));
                (found.ymin, found.ymax) = (found.ymin.clamp(0.0, bottom), found.ymax.clamp(0.0, bottom));
            }
        }
        Ok(&self.found)
    }

    /// Takes back what is known of the last picture.
    fn forget(&mut self) {
        for found in self.found.drain(..) {
            self.last_of_class[found.class] = NONE;
        }
        self.kept.clear();
    }

    /// Goes through the candidates, the best first, until enough boxes are kept. That gives the boxes which suppression in
    /// each class alone would leave, and the best of those; but most candidates are never sorted or decoded.
    ///
    /// Without `after`, only the best are looked at, and the result is the end of those, if others are left. With it, all others.
    fn keep_best(
        &mut self,
        scores: &[f32],
        boxes: &[[f32; 4]],
        placement: &Placement,
        after: Option<Candidate>,
    ) -> Result<Option<Candidate>, Error> {
        let top = self.settings.top;
        // The buffer is put back below.
        let mut list = std::mem::take(&mut self.candidates);
        let most = if after.is_some() { usize::MAX } else { top.saturating_mul(8).max(1024) };
        let mut collector = Collector::new(&mut list, self.settings.score, after, most);
        self.scorer.find(scores, &mut collector)?;
        let left = collector.left();
        let (mut candidates, mut portion) = (&mut list[..], top.saturating_mul(4).max(256));
        while !candidates.is_empty() && self.kept.len() < top {
            if candidates.len() > portion {
                candidates.select_nth_unstable_by(portion, |a, b| b.cmp(a));
            }
            let (best, rest) = candidates.split_at_mut(portion.min(candidates.len()));
            best.sort_unstable_by(|a, b| b.cmp(a));
            for candidate in best {
                if self.kept.len() < top {
                    self.consider(*candidate, boxes, placement)?;
                }
            }
            (candidates, portion) = (rest, portion.saturating_mul(2));
        }
        self.candidates = list;
        Ok(left)
    }

    /// Keeps a box unless a better one of its class has too much in common with it.
    fn consider(&mut self, candidate: Candidate, boxes: &[[f32; 4]], placement: &Placement) -> Result<(), Error> {
        let place = candidate.place() as usize;
        let (class, prior) = (place / self.priors.len(), place % self.priors.len());
        let corners = decode(&self.coder, boxes[prior], self.priors[prior], self.side);
        let Placement { scale, offset, .. } = placement;
        let pixels: [f32; 4] = std::array::from_fn(|i| ((f64::from(corners[i]) + offset[i % 2]) * scale[i % 2]) as f32);
        if !corners.iter().chain(&pixels).all(|corner| corner.is_finite()) {
            return Ok(());
        }
        let area = area(corners);
        let mut other = self.last_of_class[class];
        while let Some(better) = self.kept.get(other as usize) {
            if iou(better.corners, better.area, corners, area) > self.settings.iou {
                return Ok(());
            }
            other = better.previous;
        }
        reserve(&mut self.kept, 1)?;
        reserve(&mut self.found, 1)?;
        self.kept.push(Kept { corners, area, previous: self.last_of_class[class] });
        self.last_of_class[class] = (self.kept.len() - 1) as u32;
        let [xmin, ymin, xmax, ymax] = pixels;
        self.found.push(ScoredBox { class, prior, score: candidate.score(), xmin, ymin, xmax, ymax });
        Ok(())
    }
}

/// Room for `more` elements.
fn reserve<T>(list: &mut Vec<T>, more: usize) -> Result<(), mnx_tensor::Error> {
    let no_memory = |_| mnx_tensor::Error::Memory { bytes: more.saturating_mul(size_of::<T>()) };
    list.try_reserve(more).map_err(no_memory)
}

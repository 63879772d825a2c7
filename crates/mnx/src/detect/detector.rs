//! A picture in, boxes out.

use std::iter::FusedIterator;
use std::slice;

use mnx_graph::{Model, Session, SessionOptions};
use mnx_tensor::TensorView;

use super::options::DetectOptions;
use super::postprocess::{PostProcessor, ScoredBox};
use crate::batch::Batch;
use crate::{Error, Frame, Label, Preprocessor};

/// Something that was found in a picture, and where.
///
/// Coordinates are pixels of the original picture: (0, 0) is its upper left corner, and (width, height) its lower right one.
/// So a box around the whole picture is 0, 0, width, height.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Detection {
    /// Index of the class, from 1 on: 0 is the background.
    pub index: usize,
    /// Its name, if the model has names.
    pub label: Option<Label>,
    /// Above the threshold, at most 1.
    pub score: f32,
    /// Left edge.
    pub xmin: f32,
    /// Upper edge.
    pub ymin: f32,
    /// Right edge.
    pub xmax: f32,
    /// Lower edge.
    pub ymax: f32,
}

/// A [`Session`] of a detector, the [`Preprocessor`] of its model, and a [`PostProcessor`].
///
/// ```no_run
/// use mnx::{DetectOptions, Detector, Model};
///
/// # #[cfg(feature = "image")]
/// # fn main() -> Result<(), mnx::Error> {
/// let model = Model::open("detector.mnx")?;
/// let mut detector = Detector::new(&model)?;
/// detector.set_options(DetectOptions::new().score(0.5))?;
/// let picture = mnx::Picture::open("street.jpg")?;
/// for found in detector.detect(&picture)? {
///     let (label, percent) = (found.label.as_deref().unwrap_or("?"), found.score * 100.0);
///     println!("{label} {percent:.0} % from {:.0}, {:.0} to {:.0}, {:.0}", found.xmin, found.ymin, found.xmax, found.ymax);
/// }
/// # Ok(())
/// # }
/// # #[cfg(not(feature = "image"))]
/// # fn main() {}
/// ```
#[derive(Debug)]
pub struct Detector {
    model: Model,
    session: Session,
    preprocessor: Preprocessor,
    input: Vec<f32>,
    batch: Batch,
    post: PostProcessor,
}

impl Detector {
    /// With a session's default options.
    ///
    /// # Errors
    /// As [`Detector::with`].
    pub fn new(model: &Model) -> Result<Detector, Error> {
        Detector::with(model, SessionOptions::default())
    }

    /// With these threads and this ISA, and with the model's own thresholds.
    ///
    /// # Errors
    /// [`Error::ExpectedDetector`] if the model is no detector; [`GraphError::Limit`](crate::GraphError::Limit) when arena and
    /// input together are larger than the model's limit for the arena; else as [`Session::with`], [`Session::prepare`] and
    /// [`Preprocessor::new`].
    pub fn with(model: &Model, options: SessionOptions) -> Result<Detector, Error> {
        let spec = model.spec();
        let Some(detector) = &spec.detector else { return Err(Error::ExpectedDetector) };
        let mut session = Session::with(model, options)?;
        let preprocessor = Preprocessor::new(spec.resolution, &spec.preprocessing)?;
        let input = preprocessor.input_of(&mut session)?;
        let grids = model.network().grids(spec.resolution, spec.resolution);
        let priors = detector.priors(&grids, spec.resolution)?;
        let post = PostProcessor::new(detector, spec.classes, priors, spec.resolution)?;
        Ok(Detector { model: model.clone(), session, preprocessor, input, batch: Batch::default(), post })
    }

    /// Changes the thresholds. Those that are not set become the model's own.
    ///
    /// # Errors
    /// [`Error::DetectOption`] for a threshold outside 0…1 and for no boxes at all; the thresholds stay as they were.
    pub fn set_options(&mut self, options: DetectOptions) -> Result<(), Error> {
        self.post.set_options(options)
    }

    /// The model that it runs.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// The session that it runs it with: to [stop](Session::stopper) it, say.
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// The session, to be changed: to run it on tensors of one's own, to profile it, or to let it
    /// [forget](Session::forget) what it has laid out.
    pub fn session_mut(&mut self) -> &mut Session {
        &mut self.session
    }

    /// What the network saw of the last picture: `[1, 3, H, W]`, zeros before the first.
    pub fn input(&self) -> &[f32] {
        &self.input
    }

    /// What is in a picture, the highest score first. [`PostProcessor`] has the rules.
    ///
    /// With one thread, nothing is allocated for a second picture of the same size.
    ///
    /// # Errors
    /// As [`Preprocessor::process_into`] and [`Session::run`].
    pub fn detect<'p>(&mut self, picture: impl Into<Frame<'p>>) -> Result<Detections<'_>, Error> {
        let frame = picture.into();
        self.preprocessor.process_into(frame, &mut self.input)?;
        let side = self.preprocessor.resolution();
        let input = TensorView::new([1, 3, side, side], &self.input)?;
        let outputs = self.session.run(input)?;
        let numbers = |name| outputs.get(name).map(|output| output.data()).unwrap_or_default();
        let placement = self.preprocessor.placement(frame);
        let boxes = self.post.process_at(numbers("scores"), numbers("boxes"), &placement)?;
        Ok(Detections { boxes: boxes.iter(), model: &self.model })
    }

    /// As [`detect`](Detector::detect), for several pictures: with several threads each of them takes whole pictures, which is
    /// faster than one after the other. The result has the same bits.
    ///
    /// ```
    /// # use mnx::{Detection, Detector, Frame, Model, Spec};
    /// # fn main() -> Result<(), mnx::Error> {
    /// # let mut spec = Spec::family("ssdlite-mobilenext").expect("a known family");
    /// # spec.width = 0.1;
    /// # spec.set_resolution(64);
    /// # let model = Model::from_bytes(mnx::init(&spec, 1)?)?;
    /// let mut detector = Detector::new(&model)?;
    /// let (dark, bright) = ([20; 48 * 48 * 3], [220; 96 * 64 * 3]);
    /// let frames = [Frame::rgb8(&dark, 48, 48, 144)?, Frame::rgb8(&bright, 96, 64, 288)?];
    /// let found: Vec<Vec<Detection>> = detector.detect_batch(frames)?;
    /// assert_eq!(found.len(), 2);
    /// assert_eq!(found[1], detector.detect(frames[1])?.collect::<Vec<_>>());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`detect`](Detector::detect); nothing is returned of the pictures before.
    pub fn detect_batch<'p, F: Into<Frame<'p>>>(
        &mut self,
        pictures: impl IntoIterator<Item = F>,
    ) -> Result<Vec<Vec<Detection>>, Error> {
        let mut all = Vec::new();
        let Detector { model, session, preprocessor, batch, post, .. } = self;
        batch.run(session, preprocessor, pictures, |outputs, picture, placement| {
            let numbers = |name| outputs.get(name).map(|output| output.picture(picture)).unwrap_or_default();
            let boxes = post.process_at(numbers("scores"), numbers("boxes"), placement)?;
            all.push(Detections { boxes: boxes.iter(), model }.collect());
            Ok(())
        })?;
        Ok(all)
    }
}

/// What was found in a picture, the highest score first.
#[derive(Clone, Debug)]
pub struct Detections<'a> {
    boxes: slice::Iter<'a, ScoredBox>,
    model: &'a Model,
}

impl Iterator for Detections<'_> {
    type Item = Detection;

    fn next(&mut self) -> Option<Detection> {
        let &ScoredBox { class, score, xmin, ymin, xmax, ymax, .. } = self.boxes.next()?;
        let label = Label::of(self.model, class);
        Some(Detection { index: class, label, score, xmin, ymin, xmax, ymax })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.boxes.size_hint()
    }
}

impl ExactSizeIterator for Detections<'_> {}
impl FusedIterator for Detections<'_> {}

//! A picture in, labels out.

use mnx_graph::{Model, Session, SessionOptions};
use mnx_tensor::TensorView;

use crate::{Error, Frame, Preprocessor, top_k};

/// One class of a picture.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Prediction<'a> {
    /// Index of the class.
    pub index: usize,
    /// Its name, if the model has names.
    pub label: Option<&'a str>,
    /// By softmax over all classes, 0…1.
    pub probability: f32,
}

/// A [`Session`] and the [`Preprocessor`] of its model.
///
/// ```
/// use mnx::{Classifier, Frame, Model, Spec};
///
/// # fn main() -> Result<(), mnx::Error> {
/// // Random weights; a real program opens a file.
/// let mut spec = Spec::family("mobilenext-cifar").expect("a known family");
/// spec.width = 0.1;
/// let model = Model::from_bytes(mnx::init(&spec, 1)?)?;
///
/// let mut classifier = Classifier::new(&model)?;
/// let grey = vec![128_u8; 64 * 48 * 3];
/// let found = classifier.classify(Frame::rgb8(&grey, 64, 48, 64 * 3)?, 3)?;
/// assert_eq!(found.len(), 3);
/// assert!(found[0].probability >= found[1].probability);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Classifier {
    session: Session,
    preprocessor: Preprocessor,
    input: Vec<f32>,
}

impl Classifier {
    /// With a session's default options.
    ///
    /// # Errors
    /// As [`Classifier::with`].
    pub fn new(model: &Model) -> Result<Classifier, Error> {
        Classifier::with(model, SessionOptions::default())
    }

    /// With these threads and this ISA.
    ///
    /// # Errors
    /// [`mnx_graph::Error::Detector`] for a detector; [`mnx_graph::Error::Limit`] when arena and input together are larger
    /// than the model's limit for the arena; and as [`Session::with`], [`Session::prepare`] and [`Preprocessor::new`].
    pub fn with(model: &Model, options: SessionOptions) -> Result<Classifier, Error> {
        if model.network().classifier().is_none() {
            return Err(mnx_graph::Error::Detector { wanted: "classes" }.into());
        }
        let spec = model.spec();
        let mut session = Session::with(model, options)?;
        let preprocessor = Preprocessor::new(spec.resolution, &spec.preprocessing)?;
        let input = preprocessor.input_of(&mut session)?;
        Ok(Classifier { session, preprocessor, input })
    }

    /// What the network saw of the last picture: `[1, 3, H, W]`, zeros before the first.
    pub fn input(&self) -> &[f32] {
        &self.input
    }

    /// The `k` most probable classes (all, if there are fewer), most probable first.
    ///
    /// # Errors
    /// As [`Preprocessor::process_into`] and [`Session::run`].
    pub fn classify<'a, 'p>(
        &'a mut self,
        picture: impl Into<Frame<'p>>,
        k: usize,
    ) -> Result<Vec<Prediction<'a>>, Error> {
        self.preprocessor.process_into(picture, &mut self.input)?;
        let side = self.preprocessor.resolution();
        let input = TensorView::new([1, 3, side, side], &self.input)?;
        let best = top_k(self.session.run(input)?.data(), k);
        let labels = self.session.model().spec().labels.as_deref();
        let predict = |(index, probability): (usize, f32)| {
            let label = labels.and_then(|l| l.get(index)).map(String::as_str);
            Prediction { index, label, probability }
        };
        Ok(best.into_iter().map(predict).collect())
    }
}

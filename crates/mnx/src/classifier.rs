//! A picture in, labels out.

use mnx_graph::{Model, Session, SessionOptions};
use mnx_tensor::{TensorView, memory};

use crate::batch::Batch;
use crate::topk::best;
use crate::{Error, Frame, Label, Preprocessor};

/// One class of a picture.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Prediction {
    /// Index of the class.
    pub index: usize,
    /// Its name, if the model has names.
    pub label: Option<Label>,
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
    model: Model,
    session: Session,
    preprocessor: Preprocessor,
    input: Vec<f32>,
    batch: Batch,
    /// Room for sorting classes.
    order: Vec<usize>,
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
    /// [`GraphError::ExpectedClassifier`](crate::GraphError::ExpectedClassifier) for a detector;
    /// [`GraphError::Limit`](crate::GraphError::Limit) when arena and input together are larger than the model's limit for the
    /// arena; and as [`Session::with`], [`Session::prepare`] and [`Preprocessor::new`].
    pub fn with(model: &Model, options: SessionOptions) -> Result<Classifier, Error> {
        if model.network().classifier().is_none() {
            return Err(mnx_graph::Error::ExpectedClassifier { wanted: "classes" }.into());
        }
        let spec = model.spec();
        let mut session = Session::with(model, options)?;
        let preprocessor = Preprocessor::new(spec.resolution, &spec.preprocessing)?;
        let input = preprocessor.input_of(&mut session)?;
        let order = memory::room(spec.classes)?;
        Ok(Classifier { model: model.clone(), session, preprocessor, input, batch: Batch::default(), order })
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

    /// What the network saw of the last single picture: `[1, 3, H, W]`, zeros before the first.
    pub fn input(&self) -> &[f32] {
        &self.input
    }

    /// The `k` most probable classes (all, if there are fewer), most probable first.
    ///
    /// # Errors
    /// As [`Preprocessor::process_into`] and [`Session::run`].
    pub fn classify<'p>(&mut self, picture: impl Into<Frame<'p>>, k: usize) -> Result<Vec<Prediction>, Error> {
        let mut predictions = Vec::new();
        self.classify_into(picture, k, &mut predictions)?;
        Ok(predictions)
    }

    /// As [`classify`](Classifier::classify), in place of what `predictions` held: with one thread, nothing is allocated for a
    /// second picture of the same size. After an error `predictions` is empty.
    ///
    /// # Errors
    /// As [`classify`](Classifier::classify).
    pub fn classify_into<'p>(
        &mut self,
        picture: impl Into<Frame<'p>>,
        k: usize,
        predictions: &mut Vec<Prediction>,
    ) -> Result<(), Error> {
        predictions.clear();
        self.preprocessor.process_into(picture, &mut self.input)?;
        let logits = self.session.run(view(&self.input, &self.preprocessor)?)?;
        let found = best(logits.data(), k, &mut self.order);
        predictions.extend(found.map(|found| prediction(&self.model, found)));
        Ok(())
    }

    /// As [`classify`](Classifier::classify), for several pictures: with several threads each of them takes whole pictures, which
    /// is faster than one after the other. The result has the same bits.
    ///
    /// ```
    /// # use mnx::{Classifier, Frame, Model, Spec};
    /// # fn main() -> Result<(), mnx::Error> {
    /// # let mut spec = Spec::family("mobilenext-cifar").expect("a known family");
    /// # spec.width = 0.1;
    /// # let model = Model::from_bytes(mnx::init(&spec, 1)?)?;
    /// let mut classifier = Classifier::new(&model)?;
    /// let (dark, bright) = ([20; 48 * 48 * 3], [220; 64 * 32 * 3]);
    /// let frames = [Frame::rgb8(&dark, 48, 48, 144)?, Frame::rgb8(&bright, 64, 32, 192)?];
    /// let found = classifier.classify_batch(frames, 3)?;
    /// assert_eq!((found.len(), found[1].len()), (2, 3));
    /// assert_eq!(found[1], classifier.classify(frames[1], 3)?);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`classify`](Classifier::classify); nothing is returned of the pictures before.
    pub fn classify_batch<'p, F: Into<Frame<'p>>>(
        &mut self,
        pictures: impl IntoIterator<Item = F>,
        k: usize,
    ) -> Result<Vec<Vec<Prediction>>, Error> {
        let mut all = Vec::new();
        let Classifier { model, session, preprocessor, batch, order, .. } = self;
        batch.run(session, preprocessor, pictures, |logits, picture, _| {
            let found = best(logits.picture(picture), k, order);
            all.push(found.map(|found| prediction(model, found)).collect());
            Ok(())
        })?;
        Ok(all)
    }

    /// What the network says of a picture before softmax, a number per class.
    ///
    /// # Errors
    /// As [`classify`](Classifier::classify).
    pub fn logits<'p>(&mut self, picture: impl Into<Frame<'p>>) -> Result<&[f32], Error> {
        self.preprocessor.process_into(picture, &mut self.input)?;
        let logits = self.session.run(view(&self.input, &self.preprocessor)?)?;
        Ok(logits.data())
    }

    /// What the classifier sees of a picture, a number per channel: pictures with similar content have similar ones, by the cosine
    /// of the angle between them. As [`Session::features`].
    ///
    /// # Errors
    /// As [`classify`](Classifier::classify).
    pub fn embedding<'p>(&mut self, picture: impl Into<Frame<'p>>) -> Result<&[f32], Error> {
        self.preprocessor.process_into(picture, &mut self.input)?;
        Ok(self.session.features(view(&self.input, &self.preprocessor)?)?.data())
    }
}

/// The input of the network for a prepared picture.
fn view<'a>(input: &'a [f32], of: &Preprocessor) -> Result<TensorView<'a>, mnx_tensor::Error> {
    TensorView::new([1, 3, of.resolution(), of.resolution()], input)
}

fn prediction(model: &Model, (index, probability): (usize, f32)) -> Prediction {
    Prediction { index, label: Label::of(model, index), probability }
}

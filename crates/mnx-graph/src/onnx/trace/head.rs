//! The pool and the classifier, and how exporters take them together.

use super::super::constant::{Constant, Misfit, Scalar, misfit};
use super::super::operation::{Operation, place, places};
use super::super::step::Classifier;
use super::{Axis, Channel, Column, Features, Picture, Row, Tracer, Value};

impl<'a> Tracer<'a> {
    /// The mean over height and width, or over one of them.
    pub(super) fn pool(&mut self, op: Operation<'a>) -> Result<(), Misfit> {
        let mut features = self.whole(op, 0)?.clone();
        if features.shared {
            return misfit("one pool, of the last features", "features that another operation takes, too");
        }
        let rank = features.axes.len();
        let (axes, keep) = match op.kind() {
            "ReduceMean" => {
                let axes = self.ints(op, "axes", 1)?.unwrap_or_default();
                (places(&axes, rank), op.int("keepdims", 1) != 0)
            }
            "AveragePool" => {
                let size = self.steps[features.step].size;
                let kernel: Option<Vec<_>> =
                    op.ints("kernel_shape").map(|kernel| kernel.iter().map(|&k| usize::try_from(k).ok()).collect());
                let padded = op.ints("pads").is_some_and(|pads| pads.iter().any(|&pad| pad != 0));
                if padded || kernel != Some(size.to_vec()) || size.contains(&None) {
                    return misfit(format!("a pool of all rows and columns, {size:?}"), format!("{kernel:?}"));
                }
                (Some(vec![2, 3]), true)
            }
            _ => (Some((2..rank).collect()), true),
        };
        let along = axes.iter().flatten().map(|&axis| features.axes[axis]).collect::<Vec<_>>();
        if along.is_empty() || along.iter().any(|axis| !matches!(axis, Row | Column)) {
            return misfit("a mean over height and width", format!("over {along:?}"));
        }
        for axis in along {
            features.pooled[usize::from(axis == Column)] = true;
            features.axes.retain(|&there| keep || there != axis);
        }
        self.passed_on(op, features)
    }

    /// Takes away dimensions of one, which pooled features have.
    pub(super) fn flatten(&mut self, op: Operation<'a>) -> Result<(), Misfit> {
        match op.input(0).and_then(|name| self.values.get(name)) {
            Some(Value::Features(_)) => (),
            _ => return misfit("pooled features", "another value"),
        }
        let mut features = self.whole(op, 0)?.clone();
        if features.pooled != [true; 2] {
            return misfit("a pool over height and width before it", "none");
        }
        let (rank, channels) = (features.axes.len(), self.steps[features.step].channels);
        features.axes = match op.kind() {
            "Flatten" if place(op.int("axis", 1), rank + 1) == Some(1) && features.axes[0] == Picture => {
                vec![Picture, Channel]
            }
            "Squeeze" => {
                let axes = self.ints(op, "axes", 1)?;
                let gone = match &axes {
                    Some(axes) => places(axes, rank),
                    None => Some((0..rank).filter(|&i| matches!(features.axes[i], Row | Column)).collect()),
                };
                let gone = gone.filter(|gone| gone.iter().all(|&i| matches!(features.axes[i], Row | Column)));
                let Some(gone) = gone else { return misfit("height and width to go", format!("{axes:?}")) };
                (0..rank).filter(|i| !gone.contains(i)).map(|i| features.axes[i]).collect()
            }
            "Reshape" => {
                let to = self.known(op, 1)?.scalars().unwrap_or_default();
                let reshaped = reshaped(&features.axes, &to, self.batch, channels);
                reshaped.map_or_else(|| misfit(format!("N x {channels}"), format!("{to:?}")), Ok)?
            }
            _ => return misfit("N x C", "other dimensions"),
        };
        self.passed_on(op, features)
    }

    /// `Gemm`, or the product of a `MatMul`.
    pub(super) fn classifier(&mut self, op: Operation<'a>) -> Result<(), Misfit> {
        let gemm = op.kind() == "Gemm";
        let features = self.pooled(op)?;
        if features.axes != [Picture, Channel] {
            return misfit("features of N x C", format!("{:?}", features.axes));
        }
        let weight = self.known(op, 1)?.clone();
        let features_first = !(gemm && op.int("transB", 0) != 0);
        if gemm && op.int("transA", 0) != 0 {
            return misfit("features as they are", "transA");
        }
        let bias = if gemm { self.constant(op, 2)?.cloned() } else { None };
        let (alpha, beta) = if gemm { (op.float("alpha", 1.0), op.float("beta", 1.0)) } else { (1.0, 1.0) };
        self.classify(
            op,
            Classifier {
                at: op.index,
                input: features.step,
                weight,
                features_first,
                alpha,
                bias,
                beta,
                features: 0,
                classes: 0,
            },
        )
    }

    /// A 1x1 convolution of pooled features.
    pub(super) fn pointwise_classifier(&mut self, op: Operation<'a>) -> Result<(), Misfit> {
        let features = self.pooled(op)?;
        if features.axes.get(1) != Some(&Channel) {
            return misfit("features of N x C x 1 x 1", format!("{:?}", features.axes));
        }
        let weight = self.known(op, 1)?;
        let Some(weight) = weight.reshaped(weight.dims[..2].to_vec()) else {
            return misfit("a weight of classes x features x 1 x 1", format!("{:?}", weight.dims));
        };
        let bias = self.constant(op, 2)?.cloned();
        let (at, input) = (op.index, features.step);
        let one = 1.0;
        self.classify(
            op,
            Classifier {
                at,
                input,
                weight,
                features_first: false,
                alpha: one,
                bias,
                beta: one,
                features: 0,
                classes: 0,
            },
        )
    }

    /// Features that were pooled over height and width.
    fn pooled(&self, op: Operation) -> Result<Features, Misfit> {
        let features = self.whole(op, 0)?;
        if features.pooled != [true; 2] {
            return misfit("a pool over height and width before it", "none");
        }
        Ok(features.clone())
    }

    fn classify(&mut self, op: Operation<'a>, classifier: Classifier) -> Result<(), Misfit> {
        let features = self.steps[classifier.input].channels;
        let (rows, columns) = match classifier.weight.dims[..] {
            [rows, columns] if classifier.features_first => (columns, rows),
            [rows, columns] => (rows, columns),
            _ => return misfit("a weight of two dimensions", format!("{:?}", classifier.weight.dims)),
        };
        if columns != features || rows == 0 || rows > self.limits.channels {
            let expected = format!("a weight for {features} features and 1 to {} classes", self.limits.channels);
            return misfit(expected, format!("{:?}", classifier.weight.dims));
        }
        if self.classifier.is_some() {
            return misfit("one classifier", "a second one");
        }
        if let Some(bias) = &classifier.bias {
            check_bias(bias, rows)?;
        }
        self.classifier = Some(Classifier { features, classes: rows, ..classifier });
        let shared = op.node.output.first().is_some_and(|name| self.is_shared(name));
        self.set(op, Value::Logits { shared })
    }

    pub(super) fn classifier_bias(&mut self, op: Operation<'a>, index: usize, bias: Constant) -> Result<(), Misfit> {
        let shared =
            matches!(op.input(index).and_then(|name| self.values.get(name)), Some(Value::Logits { shared: true }));
        match &mut self.classifier {
            Some(classifier) if !shared && classifier.bias.is_none() => {
                check_bias(&bias, classifier.classes)?;
                classifier.bias = Some(bias);
            }
            _ => return misfit("one bias of the classifier", "another sum"),
        }
        let shared = op.node.output.first().is_some_and(|name| self.is_shared(name));
        self.set(op, Value::Logits { shared })
    }

    /// The last operation, which the logits are given without.
    pub(super) fn softmax(&mut self, op: Operation<'a>) -> Result<(), Misfit> {
        if !matches!(op.input(0).and_then(|name| self.values.get(name)), Some(Value::Logits { .. })) {
            return misfit("the classifier's output", "another value");
        }
        let axis = op.int("axis", if self.opset < 13 { 1 } else { -1 });
        if !matches!(axis, 1 | -1) {
            return misfit("a softmax over the classes", format!("over axis {axis}"));
        }
        self.set(op, Value::Probabilities)
    }
}

/// One value per class, whatever dimensions of one are before them, or one for all.
fn check_bias(bias: &Constant, classes: usize) -> Result<(), Misfit> {
    let (last, before) = bias.dims.split_last().map_or((1, &[][..]), |(&last, before)| (last, before));
    if before.iter().all(|&dim| dim == 1) && (last == classes || last == 1) {
        return Ok(());
    }
    misfit(format!("a bias of {classes} values"), format!("dimensions {:?}", bias.dims))
}

/// The dimensions that a `Reshape` leaves of pooled features, if it takes away or adds dimensions of one only.
fn reshaped(from: &[Axis], to: &[Scalar], batch: Option<usize>, channels: usize) -> Option<Vec<Axis>> {
    // 0 stands for the dimension at this place, which is N at the first one, and -1 for all that is left.
    let is_batch = |dim: &Scalar| match *dim {
        Scalar::Batch | Scalar::Int(-1) => true,
        Scalar::Int(0) => from.first() == Some(&Picture),
        Scalar::Int(n) => batch.is_some_and(|batch| usize::try_from(n) == Ok(batch)),
        _ => false,
    };
    let is_channels = |(i, dim): (usize, &Scalar)| match *dim {
        Scalar::Int(-1) => true,
        Scalar::Int(0) => from.get(i) == Some(&Channel),
        Scalar::Int(n) => usize::try_from(n) == Ok(channels),
        _ => false,
    };
    if to.iter().filter(|dim| **dim == Scalar::Int(-1)).count() > 1 || !to.first().is_some_and(is_batch) {
        return None;
    }
    let ones = |dims: &[Scalar]| dims.iter().all(|dim| *dim == Scalar::Int(1));
    match to.len() {
        2 if is_channels((1, &to[1])) => Some(vec![Picture, Channel]),
        4 if is_channels((1, &to[1])) && ones(&to[2..]) => Some(vec![Picture, Channel, Row, Column]),
        4 if is_channels((3, &to[3])) && ones(&to[1..3]) => Some(vec![Picture, Row, Column, Channel]),
        _ => None,
    }
}

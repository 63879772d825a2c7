//! Weights as a weight file needs them: everything that follows a layer is folded in.

use mnx_conv::{BatchNorm, Folded, fold};
use mnx_tensor::memory;

use super::constant::{Constant, Unread, misfit};
use super::operation::Operation;
use super::step::{Classifier, Convolution, Norm};
use crate::Error;
use crate::text::{NAME, shown};

/// A convolution's weight and bias, with all that follows taken in.
pub(super) fn convolution(op: Operation, convolution: &Convolution, channels: usize) -> Result<Folded, Error> {
    let read = |constant: &Constant| per_channel(constant, channels).map_err(|unread| op.unread(unread));
    let weight = convolution.weight.floats().map_err(|unread| op.unread(unread))?;
    let bias = convolution.bias.as_ref().map(read).transpose()?;
    let folded = match &convolution.norms[..] {
        [] => fold(&weight, Some(&bias.unwrap_or_else(|| vec![0.0; channels])), None),
        [Norm::Batch { gamma, beta, mean, var, eps }] => {
            let (gamma, beta, mean, var) = (read(gamma)?, read(beta)?, read(mean)?, read(var)?);
            let norm = BatchNorm { gamma: &gamma, beta: &beta, mean: &mean, var: &var, eps: *eps };
            fold(&weight, bias.as_deref(), Some(&norm))
        }
        norms => {
            // One after the other: x · scale + shift.
            let (mut scale, mut shift) = (vec![1.0; channels], vec![0.0; channels]);
            for norm in norms {
                let (by, and) = affine(norm, channels).map_err(|unread| op.unread(unread))?;
                for channel in 0..channels {
                    scale[channel] *= by[channel];
                    shift[channel] = shift[channel] * by[channel] + and[channel];
                }
            }
            let (mean, var) = (vec![0.0; channels], vec![1.0; channels]);
            let norm = BatchNorm { gamma: &scale, beta: &shift, mean: &mean, var: &var, eps: 0.0 };
            fold(&weight, bias.as_deref(), Some(&norm))
        }
    };
    folded.map_err(|error| refused(op, error))
}

/// What a norm multiplies by, and then adds.
fn affine(norm: &Norm, channels: usize) -> Result<(Vec<f64>, Vec<f64>), Unread> {
    let read = |constant| per_channel(constant, channels);
    Ok(match norm {
        Norm::Batch { gamma, beta, mean, var, eps } => {
            let (gamma, beta, mean, var) = (read(gamma)?, read(beta)?, read(mean)?, read(var)?);
            let scale: Vec<f64> = gamma.iter().zip(&var).map(|(g, v)| g / (v + eps).sqrt()).collect();
            let shift = (0..channels).map(|c| beta[c] - mean[c] * scale[c]).collect();
            (scale, shift)
        }
        Norm::Scale { by, inverse: false } => (read(by)?, vec![0.0; channels]),
        Norm::Scale { by, inverse: true } => (read(by)?.iter().map(|v| 1.0 / v).collect(), vec![0.0; channels]),
        Norm::Shift { by, negative } => {
            let sign = if *negative { -1.0 } else { 1.0 };
            (vec![1.0; channels], read(by)?.iter().map(|v| v * sign).collect())
        }
    })
}

/// A value for each channel, of as many or of one.
fn per_channel(constant: &Constant, channels: usize) -> Result<Vec<f64>, Unread> {
    let values = constant.floats()?;
    match values[..] {
        [value] => Ok(vec![value; channels]),
        _ if values.len() == channels => Ok(values),
        _ => Ok(misfit(format!("{channels} values"), values.len().to_string())?),
    }
}

/// The classifier's matrix with a row per class.
pub(super) fn classifier(op: Operation, classifier: &Classifier) -> Result<Folded, Error> {
    let (matrix, features, classes) = (&classifier.matrix, classifier.features, classifier.classes);
    let stored = matrix.weight.floats().map_err(|unread| op.unread(unread))?;
    let at = |class: usize, feature: usize| {
        if matrix.features_first { feature * classes + class } else { class * features + feature }
    };
    let places = (0..classes).flat_map(|class| (0..features).map(move |feature| (class, feature)));
    let turned = places.map(|(class, feature)| stored[at(class, feature)] * matrix.alpha);
    let weight = memory::collect(turned, classes.saturating_mul(features))?;
    let bias = match &matrix.bias {
        Some(bias) => per_channel(bias, classes).map_err(|unread| op.unread(unread))?,
        None => vec![0.0; classes],
    };
    let bias: Vec<f64> = bias.iter().map(|v| v * matrix.beta).collect();
    fold(&weight, Some(&bias), None).map_err(|error| refused(op, error))
}

fn refused(op: Operation, error: mnx_conv::Error) -> Error {
    if let mnx_conv::Error::Tensor(error) = error {
        return error.into();
    }
    let [kind, name] = [op.kind(), &op.node.name].map(|text| shown(text, NAME));
    Error::Conv { tensor: format!("of ONNX operation {}, {kind} `{name}`", op.index), error }
}

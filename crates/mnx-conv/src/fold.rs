//! Batch norm into weight and bias.

use mnx_tensor::memory;

use crate::{Error, Fault, FaultList, Parameter, Rule, flush};

/// A batch norm as it was trained: `y = (x − mean) / sqrt(var + eps) · gamma + beta`, per channel.
#[derive(Clone, Copy, Debug)]
pub struct BatchNorm<'a> {
    /// Scale (PyTorch: `weight`).
    pub gamma: &'a [f64],
    /// Shift (PyTorch: `bias`).
    pub beta: &'a [f64],
    /// Running mean.
    pub mean: &'a [f64],
    /// Running variance.
    pub var: &'a [f64],
    /// Added to the variance; 1e-5 in PyTorch.
    pub eps: f64,
}

/// Weight and bias of a layer that stands for itself.
#[derive(Clone, Debug, PartialEq)]
pub struct Folded {
    /// In the order in which it came: output channels outermost.
    pub weight: Vec<f32>,
    /// One per output channel.
    pub bias: Vec<f32>,
    /// How many of them were too near to zero to be kept.
    pub flushed: usize,
}

/// Takes a batch norm into weight and bias: `weight · gamma / sqrt(var + eps)` and
/// `beta + (bias − mean) · gamma / sqrt(var + eps)`, computed in f64 and rounded once.
///
/// What comes too near to zero is [flushed](flush()).
///
/// `weight` is `[Cout][…]` in row-major order. Cout is the length of the batch norm, or of the bias where there is no
/// batch norm. An absent bias is zero.
///
/// # Errors
/// [`Error::Length`] when the slices do not fit each other or there is neither bias nor batch norm; [`Error::Epsilon`];
/// [`Error::Fold`] with all parameters that have values which are not finite (after rounding, too), or negative
/// variances; [`mnx_tensor::Error::Memory`] when there is no memory for the result.
pub fn fold(weight: &[f64], bias: Option<&[f64]>, norm: Option<&BatchNorm<'_>>) -> Result<Folded, Error> {
    let cout = check_lengths(weight, bias, norm)?;
    let mut faults = Vec::new();
    faults.extend(not_finite(Parameter::Weight, weight));
    faults.extend(bias.and_then(|bias| not_finite(Parameter::Bias, bias)));
    if let Some(norm) = norm {
        check_norm(norm, &mut faults)?;
    }
    refuse(faults)?;

    let depth = weight.len() / cout;
    let mut weight = memory::copy(weight)?;
    let mut bias = bias.map_or_else(|| memory::zeros(cout), memory::copy)?;
    if let Some(norm) = norm {
        for (channel, row) in weight.chunks_exact_mut(depth).enumerate() {
            let scale = norm.gamma[channel] / (norm.var[channel] + norm.eps).sqrt();
            row.iter_mut().for_each(|w| *w *= scale);
            bias[channel] = norm.beta[channel] + (bias[channel] - norm.mean[channel]) * scale;
        }
    }
    // A variance of zero without epsilon, or large numbers: what was finite need not stay so.
    let overflows = [(Parameter::FoldedWeight, &weight), (Parameter::FoldedBias, &bias)];
    refuse(overflows.into_iter().filter_map(|(parameter, values)| not_finite(parameter, values)).collect())?;
    let flushed = flush(&mut weight, &mut bias);
    let round = |values: Vec<f64>| memory::collect(values.iter().map(|&v| v as f32), values.len());
    Ok(Folded { weight: round(weight)?, bias: round(bias)?, flushed })
}

/// Cout, if all slices agree on it.
fn check_lengths(weight: &[f64], bias: Option<&[f64]>, norm: Option<&BatchNorm<'_>>) -> Result<usize, Error> {
    let cout = norm.map(|norm| norm.gamma.len()).or(bias.map(<[f64]>::len)).unwrap_or(0);
    let per_channel = [
        (Parameter::Bias, bias),
        (Parameter::Beta, norm.map(|n| n.beta)),
        (Parameter::Mean, norm.map(|n| n.mean)),
        (Parameter::Variance, norm.map(|n| n.var)),
    ];
    for (parameter, values) in per_channel {
        if let Some(values) = values.filter(|v| v.len() != cout) {
            return Err(Error::Length { parameter, expected: format!("{cout} values"), found: values.len() });
        }
    }
    if cout == 0 || weight.is_empty() || !weight.len().is_multiple_of(cout) {
        let expected = format!("a positive multiple of the {cout} output channels");
        return Err(Error::Length { parameter: Parameter::Weight, expected, found: weight.len() });
    }
    Ok(cout)
}

fn check_norm(norm: &BatchNorm<'_>, faults: &mut Vec<Fault>) -> Result<(), Error> {
    if !(norm.eps.is_finite() && norm.eps >= 0.0) {
        return Err(Error::Epsilon { found: norm.eps });
    }
    faults.extend(not_finite(Parameter::Gamma, norm.gamma));
    faults.extend(not_finite(Parameter::Beta, norm.beta));
    faults.extend(not_finite(Parameter::Mean, norm.mean));
    faults.extend(not_finite(Parameter::Variance, norm.var));
    faults.extend(fault(Parameter::Variance, Rule::NotNegative, norm.var, |v| v.is_finite() && v < 0.0));
    Ok(())
}

/// What is stored is to be finite as f32 too.
fn not_finite(parameter: Parameter, values: &[f64]) -> Option<Fault> {
    let folded = matches!(parameter, Parameter::FoldedWeight | Parameter::FoldedBias);
    fault(parameter, Rule::Finite, values, |v| if folded { !(v as f32).is_finite() } else { !v.is_finite() })
}

fn fault(parameter: Parameter, rule: Rule, values: &[f64], breaks: impl Fn(f64) -> bool) -> Option<Fault> {
    let index = values.iter().position(|&v| breaks(v))?;
    let count = values[index..].iter().filter(|&&v| breaks(v)).count();
    Some(Fault { parameter, rule, count, of: values.len(), index, value: values[index] })
}

fn refuse(faults: Vec<Fault>) -> Result<(), Error> {
    if faults.is_empty() { Ok(()) } else { Err(Error::Fold(FaultList(faults))) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn norm<'a>(gamma: &'a [f64], beta: &'a [f64], mean: &'a [f64], var: &'a [f64], eps: f64) -> BatchNorm<'a> {
        BatchNorm { gamma, beta, mean, var, eps }
    }

    fn faults(result: Result<Folded, Error>) -> Vec<(Parameter, Rule, usize, usize)> {
        match result.unwrap_err() {
            Error::Fold(FaultList(list)) => list.iter().map(|f| (f.parameter, f.rule, f.index, f.count)).collect(),
            other => panic!("expected faults, found {other}"),
        }
    }

    proptest! {
        /// A folded layer does to an input what convolution and batch norm do one after the other.
        #[test]
        fn folding_keeps_the_function(
            values in prop::collection::vec(prop::array::uniform6(-2.0..2.0_f64), 1..9),
            x in prop::array::uniform2(-2.0..2.0_f64),
            eps in 0.0..1e-2,
        ) {
            let column = |f: fn(&[f64; 6]) -> f64| values.iter().map(f).collect::<Vec<_>>();
            let (gamma, beta, mean) = (column(|v| v[0]), column(|v| v[1]), column(|v| v[2]));
            let var = column(|v| v[3].abs() + 0.1);
            let weight: Vec<f64> = values.iter().flat_map(|v| [v[4], v[5]]).collect();
            let bias = column(|v| v[4] * v[5]);
            let folded = fold(&weight, Some(&bias), Some(&norm(&gamma, &beta, &mean, &var, eps))).unwrap();
            for c in 0..values.len() {
                let conv = weight[2 * c] * x[0] + weight[2 * c + 1] * x[1] + bias[c];
                let expected = (conv - mean[c]) / (var[c] + eps).sqrt() * gamma[c] + beta[c];
                let found = f64::from(folded.weight[2 * c]) * x[0]
                    + f64::from(folded.weight[2 * c + 1]) * x[1] + f64::from(folded.bias[c]);
                // Three values rounded to f32, each under 64 in magnitude once multiplied.
                prop_assert!((found - expected).abs() < 3.0 * 64.0 * f64::from(f32::EPSILON), "{found} {expected}");
            }
        }
    }

    /// With these values f32 steps give other bits, and so does a scale alone that is rounded to f32.
    #[test]
    fn rounds_once() {
        let (weight, gamma, beta, mean, var, eps) = (0.1_f64, 0.9_f64, 0.3_f64, 0.9_f64, 3.0_f64, 1e-5_f64);
        let folded = fold(&[weight], None, Some(&norm(&[gamma], &[beta], &[mean], &[var], eps))).unwrap();
        let scale = gamma / (var + eps).sqrt();
        let expected = [(weight * scale) as f32, (beta - mean * scale) as f32];
        assert_eq!([folded.weight[0], folded.bias[0]], expected);

        let in_f32_steps = {
            let [weight, gamma, beta, mean, var, eps] = [weight, gamma, beta, mean, var, eps].map(|v| v as f32);
            let scale = gamma / (var + eps).sqrt();
            [weight * scale, beta - mean * scale]
        };
        let rounded = f64::from(scale as f32);
        let with_f32_scale = [(weight * rounded) as f32, (beta - mean * rounded) as f32];
        for other in [in_f32_steps, with_f32_scale] {
            assert!(other[0] != expected[0] && other[1] != expected[1], "{other:?} {expected:?}");
        }
    }

    #[test]
    fn without_batch_norm_values_are_only_rounded() {
        let folded = fold(&[0.1, 1e-50], Some(&[0.3]), None).unwrap();
        assert_eq!(folded, Folded { weight: vec![0.1, 0.0], bias: vec![0.3], flushed: 1 });
    }

    /// What is flushed is the product, whatever made it small; signs of exact zeros stay.
    #[test]
    fn what_folds_to_almost_nothing_is_flushed() {
        let cases = [
            // gamma, beta, mean, variance; the folded weights of 0.5 and -0.5 and the bias; how many are flushed.
            ([1e-39, 1e-39, 0.0, 1.0], [0.0; 3], 3),
            ([1e-20, -1e-20, 5.0, 1.0], [0.0; 3], 3),
            ([1e-10, 0.25, 1.0, 1.0], [5e-11, -5e-11, 0.25 - 1e-10], 0),
            ([1e-20, 0.25, 1.0, 1.0], [0.0, 0.0, 0.25], 2),
            ([1.0, 1e-39, 0.0, 1.0], [0.5, -0.5, 0.0], 1),
            ([1.0, 0.25, 1.0, 1e30], [0.0, 0.0, 0.25], 2),
            ([-0.0, 0.0, 0.0, 1.0], [-0.0, 0.0, 0.0], 0),
            ([1e-3, 0.0, 0.0, 1.0], [5e-4, -5e-4, 0.0], 0),
        ];
        for ([gamma, beta, mean, var], expected, flushed) in cases {
            let folded = fold(&[0.5, -0.5], None, Some(&norm(&[gamma], &[beta], &[mean], &[var], 0.0))).unwrap();
            let found = [folded.weight[0], folded.weight[1], folded.bias[0]];
            let bits = |values: [f32; 3]| values.map(f32::to_bits);
            let expected = expected.map(|v: f64| v as f32);
            assert_eq!((bits(found), folded.flushed), (bits(expected), flushed), "{gamma} {beta} {var}: {found:?}");
        }
    }

    #[test]
    fn every_bad_parameter_is_listed() {
        let (nan, inf) = (f64::NAN, f64::INFINITY);
        let found =
            fold(&[1.0, nan, inf, 1.0], None, Some(&norm(&[1.0, inf], &[nan, 0.0], &[0.0, -inf], &[-1.0, nan], 0.1)));
        assert_eq!(
            faults(found),
            [
                (Parameter::Weight, Rule::Finite, 1, 2),
                (Parameter::Gamma, Rule::Finite, 1, 1),
                (Parameter::Beta, Rule::Finite, 0, 1),
                (Parameter::Mean, Rule::Finite, 1, 1),
                (Parameter::Variance, Rule::Finite, 1, 1),
                (Parameter::Variance, Rule::NotNegative, 0, 1),
            ]
        );
    }

    #[test]
    fn what_folding_makes_infinite_is_refused() {
        let zero_variance = fold(&[1.0], None, Some(&norm(&[1.0], &[0.0], &[1.0], &[0.0], 0.0)));
        let expected = [(Parameter::FoldedWeight, Rule::Finite, 0, 1), (Parameter::FoldedBias, Rule::Finite, 0, 1)];
        assert_eq!(faults(zero_variance), expected);
        let too_large_for_f32 = fold(&[1e300], Some(&[0.0]), None);
        assert_eq!(faults(too_large_for_f32), expected[..1]);
    }

    #[test]
    fn lengths_and_epsilon_are_checked() {
        let one = [1.0];
        let good = norm(&one, &one, &one, &one, 0.0);
        fn length(weight: &[f64], bias: Option<&[f64]>, norm: Option<&BatchNorm>) -> Parameter {
            match fold(weight, bias, norm).unwrap_err() {
                Error::Length { parameter, .. } => parameter,
                other => panic!("expected a length, found {other}"),
            }
        }
        assert_eq!(length(&[], None, Some(&good)), Parameter::Weight);
        assert_eq!(length(&one, None, None), Parameter::Weight);
        assert_eq!(length(&[1.0; 3], Some(&[0.0; 2]), None), Parameter::Weight);
        assert_eq!(length(&one, Some(&[0.0; 2]), Some(&good)), Parameter::Bias);
        assert_eq!(length(&one, None, Some(&BatchNorm { beta: &[], ..good })), Parameter::Beta);
        assert_eq!(length(&one, None, Some(&BatchNorm { mean: &[], ..good })), Parameter::Mean);
        assert_eq!(length(&one, None, Some(&BatchNorm { var: &[1.0; 2], ..good })), Parameter::Variance);
        for eps in [f64::NAN, f64::INFINITY, -1e-9] {
            let error = fold(&one, None, Some(&BatchNorm { eps, ..good })).unwrap_err();
            assert!(matches!(error, Error::Epsilon { .. }), "{error}");
        }
    }
}

//! From logits to probabilities, and the best of them.

use std::cmp::Ordering;

/// The probabilities of `logits`: `exp(x)` divided by the sum of all `exp(x)`. The largest logit is subtracted first, so that
/// finite logits never overflow.
///
/// As in PyTorch, a logit of -Inf has probability 0. Every probability is NaN if a logit is NaN or +Inf, or if all are -Inf.
/// No logits give no probabilities.
///
/// ```
/// assert_eq!(mnx::softmax(&[1.0, 1.0]), [0.5, 0.5]);
/// assert_eq!(mnx::softmax(&[0.0, f32::NEG_INFINITY]), [1.0, 0.0]);
/// ```
pub fn softmax(logits: &[f32]) -> Vec<f32> {
    let (largest, sum) = largest_and_sum(logits);
    logits.iter().map(|&logit| probability(logit, largest, sum)).collect()
}

/// The largest logit and the sum of all `exp(x - largest)`.
fn largest_and_sum(logits: &[f32]) -> (f32, f64) {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    // `f32::max` ignores a NaN, but the NaN's own term below makes the sum NaN.
    (largest, logits.iter().map(|&logit| f64::from(logit - largest).exp()).sum())
}

fn probability(logit: f32, largest: f32, sum: f64) -> f32 {
    (f64::from(logit - largest).exp() / sum) as f32
}

/// Indices and probabilities (see [`softmax`]) of the `k` largest logits, the largest first. Equal logits are in order of their
/// indices, and NaN comes after all numbers. If there are fewer than `k` logits, all are returned.
///
/// ```
/// let top = mnx::top_k(&[0.0, 2.0, 1.0], 2);
/// assert_eq!((top[0].0, top[1].0), (1, 2));
/// assert!(top[0].1 > 0.66 && top[0].1 < 0.67);
/// ```
pub fn top_k(logits: &[f32], k: usize) -> Vec<(usize, f32)> {
    let mut order = Vec::new();
    best(logits, k, &mut order).collect()
}

/// As [`top_k`]. `order` is room that is kept from call to call.
pub(crate) fn best<'a>(
    logits: &'a [f32],
    k: usize,
    order: &'a mut Vec<usize>,
) -> impl ExactSizeIterator<Item = (usize, f32)> + 'a {
    order.clear();
    order.extend(0..logits.len());
    // By logit, because probabilities that underflow would be equal.
    let first = |&a: &usize, &b: &usize| descending(logits[a], logits[b]).then(a.cmp(&b));
    if (1..order.len()).contains(&k) {
        order.select_nth_unstable_by(k - 1, first);
    }
    order.truncate(k);
    order.sort_unstable_by(first);
    let (largest, sum) = largest_and_sum(logits);
    order.iter().map(move |&index| (index, probability(logits[index], largest, sum)))
}

/// Larger numbers first, NaN last.
fn descending(a: f32, b: f32) -> Ordering {
    b.partial_cmp(&a).unwrap_or_else(|| a.is_nan().cmp(&b.is_nan()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn probabilities_of_large_logits() {
        // exp(-1) / (1 + exp(-1)) and its complement.
        let p = softmax(&[1e30, 1e30]);
        assert_eq!(p, [0.5, 0.5]);
        let p = softmax(&[1000.0, 999.0, -1e38]);
        assert!((p[0] - 0.731_058_6).abs() < 1e-6 && (p[1] - 0.268_941_4).abs() < 1e-6, "{p:?}");
        assert_eq!(p[2], 0.0);
        assert_eq!(softmax(&[f32::MAX, f32::MIN]), [1.0, 0.0]);
    }

    #[test]
    fn probabilities_of_what_is_no_number() {
        assert_eq!(softmax(&[f32::NEG_INFINITY, 3.0]), [0.0, 1.0]);
        for logits in [[f32::NAN, 1.0], [1.0, f32::INFINITY], [f32::NEG_INFINITY; 2], [f32::INFINITY; 2]] {
            assert!(softmax(&logits).iter().all(|p| p.is_nan()), "{logits:?}");
        }
        assert!(softmax(&[]).is_empty());
    }

    #[test]
    fn order_of_ties_and_nan() {
        let logits = [1.0, f32::NAN, 2.0, 1.0, f32::INFINITY, f32::NAN, 0.0, -0.0];
        let order: Vec<usize> = top_k(&logits, usize::MAX).into_iter().map(|(index, _)| index).collect();
        assert_eq!(order, [4, 2, 0, 3, 6, 7, 1, 5]);
        assert!(top_k(&logits, 0).is_empty());
        assert!(top_k(&[], 5).is_empty());
    }

    proptest! {
        #[test]
        fn top_k_is_a_sorted_selection(logits in prop::collection::vec(-200f32..200.0, 1..50), k in 0usize..60) {
            let top = top_k(&logits, k);
            prop_assert_eq!(top.len(), k.min(logits.len()));
            let sum: f32 = softmax(&logits).iter().sum();
            prop_assert!((sum - 1.0).abs() < 1e-5);
            for pair in top.windows(2) {
                let ((a, p), (b, q)) = (pair[0], pair[1]);
                prop_assert!(p >= q && (logits[a] > logits[b] || (logits[a] == logits[b] && a < b)));
            }
            if let Some(&(last, _)) = top.last() {
                let larger = logits.iter().filter(|&&logit| logit > logits[last]).count();
                prop_assert!(larger < top.len());
            }
        }
    }
}

//! What several tests share.

/// Deterministic values in −2…2 that are no round numbers.
pub fn values(len: usize, seed: usize) -> Vec<f32> {
    let mut state = seed as u32 ^ 0x9e37_79b9;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 22) as f32 - 2.0
    };
    (0..len).map(|_| next()).collect()
}

/// Same bits, but any NaN equals any NaN and +0 equals −0.
pub fn assert_same(found: &[f32], expected: &[f32], what: &dyn std::fmt::Debug) {
    assert_eq!(found.len(), expected.len(), "{what:?}");
    for (i, (f, e)) in found.iter().zip(expected).enumerate() {
        assert!(f == e || (f.is_nan() && e.is_nan()), "{what:?}: element {i}: expected {e}, found {f}");
    }
}

//! Boxes: from four numbers of a head to corners, and how much two boxes have in common.

use mnx_graph::{BoxCoder, BoxOrder};

/// Left, top, right and bottom.
pub(super) type Corners = [f32; 4];

/// Moves and stretches a prior by a head's four numbers. The corners are fractions of the picture times `side`. They may lie
/// outside of it, and need not be finite.
pub(super) fn decode(coder: &BoxCoder, numbers: [f32; 4], prior: [f32; 4], side: f32) -> Corners {
    let [dx, dy, dw, dh] = match coder.order {
        BoxOrder::Yxhw => [numbers[1], numbers[0], numbers[3], numbers[2]],
        _ => numbers,
    };
    let [x, y, width, height] = prior;
    // In the order of the reference implementation, every operation rounded once.
    let (centre_x, centre_y) = (dx * coder.centre * width + x, dy * coder.centre * height + y);
    let stretch = |number: f32, length: f32| f64::from(number * coder.size).exp() as f32 * length / 2.0;
    let (half_width, half_height) = (stretch(dw, width), stretch(dh, height));
    [centre_x - half_width, centre_y - half_height, centre_x + half_width, centre_y + half_height]
        .map(|corner| corner * side)
}

pub(super) fn area([left, top, right, bottom]: Corners) -> f32 {
    (right - left) * (bottom - top)
}

/// Intersection over union of two boxes with these areas. It is NaN, and so above nothing, if both have no area.
pub(super) fn iou(a: Corners, area_a: f32, b: Corners, area_b: f32) -> f32 {
    let larger = |x: f32, y: f32| if x > y { x } else { y };
    let smaller = |x: f32, y: f32| if x < y { x } else { y };
    let width = larger(smaller(a[2], b[2]) - larger(a[0], b[0]), 0.0);
    let height = larger(smaller(a[3], b[3]) - larger(a[1], b[1]), 0.0);
    let common = width * height;
    common / (area_a + area_b - common)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn coder(order: BoxOrder) -> BoxCoder {
        let name = if order == BoxOrder::Xywh { "xywh" } else { "yxhw" };
        serde_json::from_str(&format!(r#"{{"centre": 0.1, "size": 0.2, "order": "{name}"}}"#)).unwrap()
    }

    #[test]
    fn zeros_are_the_prior() {
        let prior = [0.5, 0.25, 0.5, 0.125];
        assert_eq!(decode(&coder(BoxOrder::Xywh), [0.0; 4], prior, 1.0), [0.25, 0.1875, 0.75, 0.3125]);
        assert_eq!(decode(&coder(BoxOrder::Xywh), [0.0; 4], prior, 320.0), [80.0, 60.0, 240.0, 100.0]);
    }

    /// By hand: the centre moves by 0.1 · 2 · 0.5 and 0.1 · -1 · 0.5; the width doubles, the height halves.
    #[test]
    fn numbers_move_and_stretch() {
        let five_ln_2 = 5.0 * std::f32::consts::LN_2;
        let expected = [0.1, 0.325, 1.1, 0.575];
        for (order, numbers) in
            [(BoxOrder::Xywh, [2.0, -1.0, five_ln_2, -five_ln_2]), (BoxOrder::Yxhw, [-1.0, 2.0, -five_ln_2, five_ln_2])]
        {
            let found = decode(&coder(order), numbers, [0.5, 0.5, 0.5, 0.5], 1.0);
            assert!(found.iter().zip(expected).all(|(found, expected)| (found - expected).abs() < 1e-6), "{found:?}");
        }
    }

    #[test]
    fn what_boxes_have_in_common() {
        let of = |a: Corners, b: Corners| iou(a, area(a), b, area(b));
        let square = [0.0, 0.0, 2.0, 2.0];
        assert_eq!(of(square, square), 1.0);
        assert_eq!(of(square, [1.0, 1.0, 3.0, 3.0]), 1.0 / 7.0);
        assert_eq!(of(square, [2.0, 0.0, 4.0, 2.0]), 0.0);
        assert_eq!(of(square, [5.0, 5.0, 6.0, 6.0]), 0.0);
        assert_eq!(of(square, [0.5, 0.5, 1.0, 1.0]), 0.0625);
        assert!(of([1.0; 4], [1.0; 4]).is_nan());
    }
}

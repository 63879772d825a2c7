//! The layers that are benched.

use mnx_graph::{Network, PlacedLayer};
use mnx_tensor::{Arithmetic, Element, Operation};

use crate::{Shape, spec};

/// The dense layers of ResNet-50 and its max pool, for inputs of this height and width.
fn resnet50(side: usize) -> impl Iterator<Item = Shape> {
    let conv = |(size, channels, stride)| Shape {
        arithmetic: Arithmetic::F32,
        weights: Element::F32,
        operation: Operation::Conv { kernel: 3, stride },
        size,
        cin: channels,
        cout: channels,
        clamps: true,
    };
    let stem = Operation::Dense { kernel: 7, stride: 2 };
    let stem = Shape { cin: 3, operation: stem, size: side, ..conv((side, 64, 2)) };
    let pool = Operation::MaxPool { kernel: 3, stride: 2 };
    let pool = Shape { operation: pool, clamps: false, ..conv((side.div_ceil(2), 64, 2)) };
    let conv3x3 = [(4, 64, 1), (4, 128, 2), (8, 128, 1), (8, 256, 2), (16, 256, 1), (16, 512, 2), (32, 512, 1)]
        .map(|(part, channels, stride)| conv((side.div_ceil(part), channels, stride)));
    conv3x3.into_iter().chain([stem, pool])
}

/// The shapes of the layers of MobileNeXt of these widths and of ResNet-50, for inputs of `side` x `side`, each once in f32 and in int8,
/// by size. MobileNeXt has no dense layer at stride 1: that is the stem of the CIFAR network.
pub fn shapes(widths: &[f64], side: usize) -> Vec<Shape> {
    let cifar = Operation::Dense { kernel: 3, stride: 1 };
    let (arithmetic, weights) = (Arithmetic::F32, Element::F32);
    let f32 = Shape { arithmetic, weights, operation: cifar, size: 32, cin: 3, cout: 16, clamps: true };
    let mut shapes = vec![f32];
    shapes.extend(resnet50(side));
    for &width in widths {
        let network = Network::new(&spec(width)).expect("a network within the limits");
        let layers: Vec<PlacedLayer> = network.place(side, side).collect();
        shapes.extend(layers.iter().filter_map(Shape::of));
        // The pool stands between the last convolution and the classifier.
        if let [.., last, _] = layers[..] {
            let (size, channels) = (last.output.0, last.layer.cout);
            shapes.push(Shape {
                operation: Operation::Pool,
                size,
                cin: channels,
                cout: channels,
                clamps: false,
                ..f32
            });
        }
    }
    let (arithmetic, weights) = (Arithmetic::Int8, Element::I8);
    let int8: Vec<Shape> = shapes.iter().map(|&shape| Shape { arithmetic, weights, clamps: false, ..shape }).collect();
    let linear: Vec<Shape> = shapes.iter().copied().filter(|shape| shape.operation == Operation::Linear).collect();
    for weights in [Element::Bf16, Element::F16] {
        shapes.extend(linear.iter().map(|&shape| Shape { weights, ..shape }));
    }
    let picture =
        Shape { arithmetic, weights, operation: Operation::Quantize, size: side, cin: 3, cout: 3, clamps: false };
    shapes.extend(int8);
    shapes.push(picture);
    shapes.sort_by_key(|of| (of.arithmetic, of.weights.name(), of.operation, of.size, of.cin, of.cout, of.clamps));
    shapes.dedup();
    shapes
}

#[cfg(test)]
mod tests {
    use mnx_tensor::{Cpu, Isa};

    use super::*;
    use crate::{SIDE, kernels, widths};

    #[test]
    fn every_kernel_is_benched_and_names_are_unique() {
        let cpu = Cpu::choose(Some(Isa::Scalar), None).expect("the portable fallback");
        let shapes = shapes(widths(), SIDE);
        for shape in &shapes {
            assert_eq!(shape.kernel(), shape.selected(cpu), "{shape:?}");
        }
        for name in kernels() {
            let mut names: Vec<String> =
                shapes.iter().filter(|shape| shape.kernel() == name).map(|shape| shape.to_string()).collect();
            let all = names.len();
            names.sort();
            names.dedup();
            assert!(all > 0 && names.len() == all, "{name}: {names:?}");
        }
    }

    #[test]
    fn operations_are_those_of_the_network() {
        let width = widths()[0];
        let network = Network::new(&spec(width)).unwrap();
        for placed in network.place(SIDE, SIDE) {
            let shape = Shape::of(&placed).unwrap();
            assert_eq!(shape.operations(), 2 * placed.macs(), "{placed:?}");
            let int8 = Shape { arithmetic: Arithmetic::Int8, ..shape };
            assert_eq!(int8.operations(), placed.macs(), "{placed:?}");
        }
    }
}

//! The named detectors: SSDLite as MobileNeXt's authors have it, on two backbones, and as TensorFlow's object detection API has it.

use crate::{BoxCoder, BoxOrder, DetectorSpec, Extra, ExtraKind, HeadKind, PriorBoxes, ScoreKind, Tap, TapPoint};

/// Levels of all three.
const LEVELS: usize = 6;

/// Extra blocks: hidden and output channels.
fn extras(block: ExtraKind, channels: [(usize, usize); LEVELS - 2]) -> Vec<Extra> {
    channels.map(|(hidden, channels)| Extra::new(block, hidden, channels)).into()
}

/// Strides, smallest and largest sizes are those for pictures of 320 x 320.
fn reference(taps: [Tap; 2], extras: Vec<Extra>) -> DetectorSpec {
    let sizes = [
        (16.0, 45.0, 120.0),
        (32.0, 90.0, 180.0),
        (64.0, 135.0, 220.0),
        (120.0, 180.0, 260.0),
        (160.0, 225.0, 300.0),
        (320.0, 270.0, 320.0),
    ];
    let priors = sizes.map(|(stride, min, max)| PriorBoxes::Sizes { stride, min, max, ratios: vec![2.0, 3.0] });
    DetectorSpec {
        taps: taps.into(),
        extras,
        last_head: HeadKind::Pointwise,
        depthwise_bias: true,
        priors: priors.into(),
        clip: true,
        coder: BoxCoder::new(0.1, 0.2),
        scores: ScoreKind::Softmax,
        clip_boxes: false,
        score: 0.01,
        iou: 0.45,
        top: 100,
    }
}

pub(super) fn mobilenext() -> DetectorSpec {
    let channels = [(256, 512), (128, 256), (128, 256), (128, 128)];
    let taps = [Tap::new(13, TapPoint::Expanded), Tap::new(20, TapPoint::Expanded)];
    reference(taps, extras(ExtraKind::DepthwiseFirst, channels))
}

pub(super) fn mobilenetv2() -> DetectorSpec {
    let channels = [(256, 512), (256, 256), (128, 256), (128, 64)];
    let taps = [Tap::new(13, TapPoint::Output), Tap::new(18, TapPoint::Output)];
    reference(taps, extras(ExtraKind::InvertedResidual, channels))
}

pub(super) fn tensorflow() -> DetectorSpec {
    let scales = [0.35, 0.5, 0.65, 0.8, 0.95, 1.0];
    let mut priors = vec![PriorBoxes::Scales(vec![[0.1, 1.0], [0.2, 2.0], [0.2, 0.5]])];
    priors.extend(scales.windows(2).map(|pair| {
        let (scale, next) = (pair[0], pair[1]);
        let mut boxes: Vec<_> = [1.0, 2.0, 0.5, 3.0, 0.3333].map(|ratio| [scale, ratio]).into();
        boxes.push([f64::sqrt(scale * next), 1.0]);
        PriorBoxes::Scales(boxes)
    }));
    let channels = [(256, 512), (128, 256), (128, 256), (64, 128)];
    DetectorSpec {
        taps: vec![Tap::new(14, TapPoint::Expanded), Tap::new(18, TapPoint::Output)],
        extras: extras(ExtraKind::DepthwiseBetween, channels),
        last_head: HeadKind::Separable,
        depthwise_bias: false,
        priors,
        clip: false,
        coder: BoxCoder { centre: 0.1, size: 0.2, order: BoxOrder::Yxhw },
        scores: ScoreKind::Sigmoid,
        clip_boxes: true,
        score: 0.4,
        iou: 0.6,
        top: 100,
    }
}

//! What every plan keeps to.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use mnx_tensor::{Arithmetic, Cpu, TunedFor, Tuning};

use super::*;
use crate::testing::RandomNetwork;
use crate::{Model, Spec};

fn plan(width: f64, size: (usize, usize), threads: usize) -> Plan {
    plan_of("mobilenext", width, size, threads)
}

fn plan_of(family: &str, width: f64, size: (usize, usize), threads: usize) -> Plan {
    plan_in(Arithmetic::F32, family, width, size, threads)
}

/// A plan for layers that are all in one arithmetic. ResNets have a quarter of their channels.
fn plan_in(arithmetic: Arithmetic, family: &str, width: f64, size: (usize, usize), threads: usize) -> Plan {
    plan_for(None, &model(arithmetic, family, width), size, threads)
}

/// A plan for some kind of core, or for this one.
fn plan_for(tuned_for: Option<TunedFor>, model: &Model, size: (usize, usize), threads: usize) -> Plan {
    let layers = Layers::new(model, Cpu::choose(None, tuned_for).unwrap(), None).unwrap();
    let graph = Graph::new(model.network(), model.numbers(), size);
    Plan::new(&graph, &layers, &[], model.spec().padding, &Limits::default(), threads).unwrap()
}

/// The model, which is made once.
fn model(arithmetic: Arithmetic, family: &str, width: f64) -> Model {
    static MODELS: Mutex<Option<HashMap<String, Model>>> = Mutex::new(None);
    let mut models = MODELS.lock().unwrap_or_else(PoisonError::into_inner);
    let made = models.get_or_insert_default().entry(format!("{family} {width} {arithmetic}"));
    made.or_insert_with(|| {
        let mut spec = Spec::family(family).unwrap();
        spec.width = width;
        if family.starts_with("resnet") {
            spec.stem.channels /= 4;
            spec.stages.iter_mut().for_each(|stage| stage.channels /= 4);
        }
        Model::from_bytes(RandomNetwork::new(&spec, 1, |_, _| arithmetic).file()).unwrap()
    })
    .clone()
}

#[test]
fn values_that_are_needed_at_once_do_not_overlap() {
    let mobilenexts = [(1.0, (224, 224)), (0.35, (37, 53)), (0.1, (1, 1)), (0.13, (7, 300))];
    let of = |arithmetic| {
        let mobilenexts = mobilenexts.map(|(width, size)| plan_in(arithmetic, "mobilenext", width, size, 1));
        let others = ["mobilenetv2", "resnet18", "resnet50"];
        let others = others.map(|family| plan_in(arithmetic, family, 1.0, (224, 160), 1));
        mobilenexts.into_iter().chain(others)
    };
    for plan in of(Arithmetic::F32).chain(of(Arithmetic::Int8)) {
        for step in &plan.steps {
            let Some(dst) = step.dst.slot() else { continue };
            let used = [step.src.slot(), step.shortcut.map(|shortcut| shortcut.slot)].into_iter().flatten();
            for slot in used {
                let apart =
                    slot.offset + slot.shape.bytes() <= dst.offset || dst.offset + dst.shape.bytes() <= slot.offset;
                assert!(apart, "{step:?}");
            }
            assert!(dst.offset + dst.shape.bytes() <= plan.workspace_bytes);
            assert_eq!(dst.offset % 64, 0);
        }
    }
}

#[test]
#[cfg_attr(feature = "guarded", ignore = "values share no memory there")]
fn the_arena_is_no_larger_than_what_is_whole_at_once() {
    // The input and the output of the second half of features.2, at 56 x 56. Where L2 caches are large, that output never exists
    // whole; then it is the input of features.1, 16 channels at 112 x 112, and its output.
    for (tuned_for, channels) in [(TunedFor::Any, 32 + 144), (TunedFor::Wide, 4 * 16 + 96)] {
        let of = |arithmetic| plan_for(Some(tuned_for), &model(arithmetic, "mobilenext", 1.0), (224, 224), 1);
        let (pair, bytes) = (4 * channels * 56 * 56, of(Arithmetic::F32).workspace_bytes);
        assert!((pair..pair + pair / 100).contains(&bytes), "{bytes} bytes, the pair has {pair}");
    }
    let int8 = plan_in(Arithmetic::Int8, "mobilenext", 1.0, (224, 224), 1).workspace_bytes;
    let pair = (32 + 144) * 56 * 56;
    assert!((pair..pair + pair / 100).contains(&int8), "{int8} bytes, the pair has {pair}");
}

/// A shortcut is added where a step ends.
#[test]
fn no_shortcut_is_fused_away() {
    for (family, threads) in
        ["mobilenext", "mobilenetv2", "ssdlite-mobilenext"].into_iter().flat_map(|f| [(f, 1), (f, 2)])
    {
        let model = model(Arithmetic::F32, family, 1.0);
        for &tuned_for in TunedFor::ALL {
            for size in [(224, 224), (320, 320), (512, 384)] {
                let graph = Graph::new(model.network(), model.numbers(), size);
                let expected = graph.nodes.iter().filter(|node| node.shortcut.is_some()).count();
                let plan = plan_for(Some(tuned_for), &model, size, threads);
                let found = plan.steps.iter().filter(|step| step.shortcut.is_some()).count();
                assert_eq!(found, expected, "{family} at {size:?} on {threads} threads, {tuned_for}");
            }
        }
    }
}

#[test]
fn units_cover_each_step_once() {
    let threads = [1, 2, 3, 4, 7, 16, 33, 64];
    for (threads, size) in threads.into_iter().flat_map(|t| [(t, (64, 48)), (t, (224, 224)), (t, (1, 9))]) {
        let others = ["mobilenetv2", "resnet18", "resnet50"].map(|family| plan_of(family, 1.0, size, threads));
        let int8 = ["mobilenext", "resnet50"].map(|family| plan_in(Arithmetic::Int8, family, 1.0, size, threads));
        for step in others.into_iter().chain([plan(0.35, size, threads)]).chain(int8).flat_map(|plan| plan.steps) {
            let (mut pixels, mut channels) = (0, 0);
            for (p, c) in step.split.all() {
                (pixels, channels) = (pixels.max(p.end), channels.max(c.end));
            }
            let mut seen = vec![0; pixels * channels];
            for (p, c) in step.split.all() {
                for pixel in p.start..p.end {
                    (c.start..c.end).for_each(|channel| seen[pixel * channels + channel] += 1);
                }
            }
            assert!(seen.iter().all(|&times| times == 1), "{step:?}");
            assert_eq!(pixels, step.dst.slot().map_or(1, |slot| slot.shape.height * slot.shape.width));
        }
    }
}

#[test]
fn strips_between_fused_layers_fit_the_scratch() {
    let sizes = [(224, 224), (37, 53), (1, 1), (7, 300), (300, 7), (1, 2000)];
    let cases = [1, 2, 5].into_iter().flat_map(|t| sizes.map(|size| (t, size)));
    for ((threads, size), arithmetic) in cases.flat_map(|case| Arithmetic::ALL.iter().map(move |&a| (case, a))) {
        let plan = plan_in(arithmetic, "mobilenext", 1.0, size, threads);
        let mut fused = 0;
        for step in &plan.steps {
            for (pixels, channels) in step.split.all() {
                match &step.kind {
                    StepKind::Chain(Chain { links, window, .. }) => {
                        let mut pixels = pixels;
                        let mut end = *window;
                        for pair in links.windows(2).rev() {
                            pixels = pair[1].conv.reads(pixels);
                            let Link { conv, offset, plane } = pair[0];
                            assert!(pixels.len() * conv.pixel_bytes() <= plane, "{step:?}");
                            assert!(offset + conv.layer.blocks() * plane <= plan.scratch_bytes);
                            end = end.min(offset);
                            fused += 1;
                        }
                        assert_eq!(end, 0);
                    }
                    StepKind::Channels(pair) => {
                        let Pair { convs: [pw, dw], plane, kernels, .. } = &**pair;
                        assert!(dw.reads(pixels).len() * pw.pixel_bytes() <= *plane, "{step:?}");
                        let blocks = channels.len() * pw.layer.lanes / pw.layer.output.lanes;
                        assert!(blocks * plane <= (*kernels).min(plan.scratch_bytes), "{step:?}");
                        fused += 1;
                    }
                    _ => {}
                }
            }
        }
        assert!(fused > 0);
    }
}

#[test]
fn copies_fit_the_scratch() {
    let sizes = [(224, 224), (37, 53), (1, 1), (7, 300), (300, 7), (1, 2000)];
    for (threads, size) in [1, 2, 5].into_iter().flat_map(|t| sizes.map(|size| (t, size))) {
        let plans = [
            plan_of("resnet18", 1.0, size, threads),
            plan_of("resnet50", 1.0, size, threads),
            // Only its strided pointwise layers read a copy that the plan makes.
            plan_in(Arithmetic::Int8, "resnet50", 1.0, size, threads),
        ];
        for plan in plans {
            let mut copies = 0;
            for step in &plan.steps {
                let StepKind::Chain(Chain { links, window, window_plane, kernels }) = &step.kind else { continue };
                let conv = links[0].conv;
                if !conv.layer.copies() {
                    continue;
                }
                for (pixels, _) in step.split.all() {
                    let Geometry { out_width, .. } = conv.geometry;
                    let (rows, stride) = (conv.rows(pixels).len(), conv.layer.stride);
                    let read = match conv.layer.operation.kernel() {
                        1 => rows * out_width,
                        kernel => ((rows - 1) * stride + kernel) * ((out_width - 1) * stride + kernel),
                    };
                    let input = conv.layer.input;
                    assert!(read * input.pixel_bytes() <= *window_plane, "{step:?}");
                    let end = window + conv.layer.cin.div_ceil(input.lanes) * window_plane;
                    assert!(end <= (*kernels).min(plan.scratch_bytes), "{step:?}");
                    copies += 1;
                }
            }
            assert!(copies > 0);
        }
    }
}

/// Multiply-adds of a unit, with what it computes again of layers before its last.
fn work_of(step: &Step, (pixels, groups): (Span, Span)) -> f64 {
    let of = |conv: &Conv, pixels: usize, share: f64| {
        conv.effort() as f64 * share * pixels as f64 / (conv.geometry.out_height * conv.geometry.out_width) as f64
    };
    let share = |conv: &Conv| groups.len() as f64 / conv.layer.groups() as f64;
    match &step.kind {
        StepKind::Chain(chain) if chain.links.len() > 1 => {
            let (mut work, mut pixels) = (0.0, pixels);
            for (index, link) in chain.links.iter().enumerate().rev() {
                work += of(&link.conv, pixels.len(), 1.0);
                if index > 0 {
                    pixels = chain.links[index - 1].conv.whole_rows(link.conv.reads(pixels));
                }
            }
            work
        }
        StepKind::Channels(pair) => {
            let [pw, dw] = &pair.convs;
            let read = dw.reads(pixels);
            of(pw, read.len(), share(pw)) + of(dw, pixels.len(), share(pw))
        }
        kind => kind.convs().iter().map(|conv| of(conv, pixels.len(), share(conv))).sum(),
    }
}

/// What the plan lets threads gain, if all are equally fast and waiting costs nothing; ResNet-50 with a quarter of its channels.
/// It is the table in docs/performance.md, which
/// `cargo test -p mnx-graph --lib many_threads_share_the_work -- --nocapture` prints for this CPU.
#[test]
fn many_threads_share_the_work() {
    println!("| network | threads | times as fast | activations kB | scratch of all threads kB |");
    println!("| --- | ---: | ---: | ---: | ---: |");
    let least = [1.85, 3.7, 7.2, 12.5, 21.5, 32.5];
    let kinds = TunedFor::ALL.iter().map(|&tuned_for| Some(tuned_for)).chain([None]);
    for (tuned_for, family) in kinds.flat_map(|kind| ["mobilenext", "mobilenetv2", "resnet50"].map(|f| (kind, f))) {
        for (threads, least) in [2, 4, 8, 16, 32, 64].into_iter().zip(least) {
            let plan = plan_for(tuned_for, &model(Arithmetic::F32, family, 1.0), (224, 224), threads);
            let (mut all, mut slowest) = (0.0, 0.0);
            for step in &plan.steps {
                let units: Vec<f64> = step.split.all().map(|unit| work_of(step, unit)).collect();
                let of = |thread| &units[units.len() * thread / threads..units.len() * (thread + 1) / threads];
                let most = (0..threads).map(|thread| of(thread).iter().sum()).fold(0.0, f64::max);
                let effort: u64 = step.kind.convs().iter().map(Conv::effort).sum();
                let useful = usize::try_from(effort / Tuning::DEFAULT.min_unit_macs).unwrap().clamp(1, threads);
                // Fewer units than threads only where more would be no faster, or where each is one pixel.
                let alone = effort as f64 / useful as f64 / most.max(1.0);
                assert!(effort == 0 || units.len() >= useful || alone > 0.55, "{family}, {threads} threads: {step:?}");
                (all, slowest) = (all + effort as f64, slowest + most);
            }
            let (activations, scratch) = (plan.workspace_bytes / 1000, threads * plan.scratch_bytes / 1000);
            let times = all / slowest;
            if tuned_for.is_none() {
                println!("| {family} | {threads} | {times:.1} | {activations} | {scratch} |");
            }
            let what = format!("{family} on {threads} threads, {tuned_for:?}");
            assert!((least..=threads as f64).contains(&times), "{what}: {times}");
        }
    }
}

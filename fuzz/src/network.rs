//! Small networks of every kind, and running whatever opened.

use mnx_graph::{Arithmetic, Layer, Limits, Model, Network, Session, SessionOptions, Spec};
use mnx_tensor::{Cpu, Tensor};

use crate::Source;
use crate::random::{Random, RandomNetwork, random_input};

/// Multiply-adds that an execution may take: a millisecond or two.
pub const MACS: u64 = 1_000_000;

/// What a target lets a file ask for.
pub fn limits() -> Limits {
    let mut limits = Limits::default();
    (limits.header_bytes, limits.tensors, limits.channels) = (1 << 16, 512, 512);
    (limits.elements, limits.weights, limits.arena_bytes) = (1 << 18, 1 << 18, 8 << 20);
    limits
}

/// A network that can be: blocks of one kind or several, a classifier or heads.
pub fn spec(source: &mut Source) -> Option<Spec> {
    let text = table(source);
    let spec = Spec::from_json(&text).ok()?;
    Network::new_with(&spec, &limits()).ok()?;
    Some(spec)
}

/// The stage table of a network that can mostly be.
fn table(source: &mut Source) -> String {
    let kinds: &[&str] = match source.below(3) {
        0 => &["sandglass", "inverted_residual"],
        1 => &["sandglass"],
        _ => &["basic", "bottleneck"],
    };
    let is_residual = kinds[0] == "basic";
    let (kernel, stride) = source.one_of(&[(3, 1), (3, 2), (7, 2)]);
    let max_pool = source.below(4) == 0;
    let stem = source.between(1, 20);
    let mut stages = Vec::new();
    let mut blocks = 1;
    for _ in 0..source.between(1, 3) {
        let block = source.one_of(kinds);
        let ratio = if block == "basic" { 1 } else { source.between(1, 3) };
        let channels = source.between(1, 14) * if block == "bottleneck" { ratio } else { source.between(1, 3) };
        let (repeats, stride) = (source.between(1, 2), source.between(1, 2));
        blocks += repeats;
        stages.push(format!(
            r#"{{"block":"{block}","ratio":{ratio},"channels":{channels},"repeats":{repeats},"stride":{stride}}}"#
        ));
    }
    let identity = if kinds == ["sandglass"] { source.below(101) as f64 / 100.0 } else { 1.0 };
    let head =
        if !is_residual && source.flag() { format!(r#""head":{},"#, source.between(1, 40)) } else { String::new() };
    let activation = source.one_of(&["relu", "relu6"]);
    let padding = if max_pool { "torch" } else { source.one_of(&["torch", "tf"]) };
    let detector = if source.below(3) == 0 { detector(source, blocks) } else { String::new() };
    let classes = source.between(2, 40);
    format!(
        r#"{{"stem":{{"channels":{stem},"stride":{stride},"kernel":{kernel},"max_pool":{max_pool}}},
        "stages":[{}],{head}{detector}"identity":{identity},"activation":"{activation}","padding":"{padding}",
        "resolution":{},"classes":{classes}}}"#,
        stages.join(","),
        source.between(1, 32),
    )
}

fn detector(source: &mut Source, blocks: usize) -> String {
    let (first, second) = (source.below(blocks), source.below(blocks));
    let at = source.one_of(&["output", "output", "expanded"]);
    let mut taps = vec![format!(r#"{{"block":{first},"at":"{at}"}}"#)];
    if second > first {
        taps.push(format!(r#"{{"block":{second}}}"#));
    }
    let kinds = ["depthwise_first", "inverted_residual", "depthwise_between"];
    let extras = (0..source.below(3)).map(|_| {
        let (kind, hidden, channels) = (source.one_of(&kinds), source.between(1, 9), source.between(1, 20));
        format!(r#"{{"block":"{kind}","hidden":{hidden},"channels":{channels}}}"#)
    });
    let extras: Vec<_> = extras.collect();
    let priors = (0..taps.len() + extras.len()).map(|_| match source.below(3) {
        0 => r#"{"sizes":{"stride":4,"min":4,"max":8,"ratios":[2]}}"#,
        1 => r#"{"scales":[[0.2,1.0],[0.3,0.5]]}"#,
        _ => r#"{"scales":[[0.8,1.0]]}"#,
    });
    let priors = priors.collect::<Vec<_>>().join(",");
    let (scores, last) = (source.one_of(&["softmax", "sigmoid"]), source.one_of(&["separable", "pointwise"]));
    format!(
        r#""detector":{{"taps":[{}],"extras":[{}],"priors":[{priors}],"last_head":"{last}","scores":"{scores}",
        "coder":{{"centre":0.1,"size":0.2}},"score":0.1,"iou":0.5,"top":10}},"#,
        taps.join(","),
        extras.join(","),
    )
}

/// Random weights for a spec: f32, int8, or some layers in each.
pub fn weights(spec: &Spec, source: &mut Source) -> RandomNetwork {
    let share = source.one_of(&[0.0, 1.0, 0.5, 0.2, 0.8]);
    let seed = u64::from(source.u32());
    RandomNetwork::new(spec, seed, |index: usize, _: &Layer| {
        let mut random = Random(seed * 1000 + index as u64);
        random.bits();
        if random.unit() < share { Arithmetic::Int8 } else { Arithmetic::F32 }
    })
}

/// One of the CPUs that this one can be.
pub fn cpu(source: &mut Source) -> Cpu {
    source.one_of(&Cpu::available())
}

/// A session on the kernels of `cpu`.
pub fn session(model: &Model, cpu: Cpu, threads: usize) -> Session {
    try_session(model, cpu, threads).expect("a session of this CPU's")
}

fn try_session(model: &Model, cpu: Cpu, threads: usize) -> Result<Session, mnx_graph::Error> {
    let options = SessionOptions::new().isa(cpu.isa()).tuned_for(cpu.tuned_for()).dot_products(cpu.dot_products());
    let options = options.amx(cpu.amx());
    Session::with(model, options.threads(threads))
}

/// The bits of all numbers.
pub fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

/// Runs what opened on a small picture, twice; both times come to the same.
pub fn run(model: &Model, source: &mut Source) {
    let (batch, height, width) = (source.between(1, 2), source.between(1, 12), source.between(1, 12));
    if model.network().macs(height, width).saturating_mul(batch as u64) > MACS {
        return;
    }
    // Weights that were not checked may be some that kernels refuse.
    let Ok(mut session) = try_session(model, cpu(source), source.between(1, 3)) else { return };
    let numbers = random_input(source.byte().into(), batch * 3 * height * width);
    let picture = Tensor::from_slice([batch, 3, height, width], &numbers).expect("so many numbers");
    let mut made = || -> Option<Vec<Vec<u32>>> {
        // More memory than the limits allow is an error.
        let outputs = session.run(picture.view()).ok()?;
        Some(outputs.iter().map(|output| bits(output.1.data())).collect())
    };
    assert_eq!(made(), made());
}

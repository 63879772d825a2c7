//! Many inferences on several threads at once, each checked: the same bits every time, and no more memory as time goes by.
//!
//! ```sh
//! cargo run --release -p mnx-benches --example soak -- --minutes 60
//! ```
//!
//! Every workload is a network in f32 or int8 and a shape of input. What it computes is known from one run on one thread before
//! the clock starts. Then several threads take workloads at random, with sessions that are new or used before, of any number of
//! threads, every ISA with the same bits and each kind of core, and compare. Exit status: 0 all was right, 1 a result differed or
//! memory grew.

use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use mnx::quantize::{Calibration, Options, quantize};
use mnx::{Isa, Model, Session, SessionOptions, Spec, Tensor, TunedFor};

/// Families and widths. Narrow ones: it is the number of inferences that counts.
const NETWORKS: [(&str, f64); 8] = [
    ("mobilenext", 0.1),
    ("mobilenext", 0.35),
    ("mobilenext-cifar", 0.35),
    ("mobilenetv2", 0.1),
    ("mobilenetv2-cifar", 0.35),
    ("ssdlite-mobilenext", 0.1),
    ("ssdlite-mobilenetv2", 0.1),
    ("resnet18", 1.0),
];
/// Batch, height and width.
const SHAPES: [[usize; 3]; 6] = [[1, 64, 64], [1, 33, 97], [2, 96, 64], [3, 17, 40], [1, 128, 128], [5, 32, 32]];
/// Threads that take workloads; more than cores, so that they are interrupted at any place.
const WORKERS: usize = 4;
/// Memory may be this much larger at the end than when a tenth of the time had passed: what an allocator keeps for later.
const GROWTH: u64 = 48 << 20;

/// A network, an input, and what the network makes of it.
struct Workload {
    name: String,
    model: Model,
    input: Tensor,
    checksum: u64,
}

/// Numbers without end, the same for the same seed.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) as usize % n
    }
}

fn main() -> Result<ExitCode, Box<dyn std::error::Error>> {
    let minutes = match &*std::env::args().skip(1).collect::<Vec<_>>() {
        [] => 1.0,
        [flag, minutes] if flag == "--minutes" => minutes.parse::<f64>()?,
        _ => return Err("usage: soak [--minutes N]".into()),
    };
    let duration = Duration::try_from_secs_f64(minutes * 60.0)?;
    let workloads = workloads()?;
    println!("{} workloads, {WORKERS} threads, {minutes} minutes", workloads.len());
    let (start, stop) = (Instant::now(), AtomicBool::new(false));
    let [runs, sessions, wrong] = [const { AtomicU64::new(0) }; 3];
    let mut memory = Memory::default();
    std::thread::scope(|scope| {
        for worker in 0..WORKERS {
            let (workloads, stop, counts) = (&workloads, &stop, [&runs, &sessions, &wrong]);
            scope.spawn(move || work(worker, workloads, stop, counts));
        }
        let mut next_line = Duration::from_secs(10);
        while start.elapsed() < duration {
            std::thread::sleep(Duration::from_millis(200));
            memory.look(start.elapsed() >= duration / 10);
            if start.elapsed() >= next_line {
                next_line += Duration::from_secs(if minutes > 5.0 { 60 } else { 10 });
                let left = duration.saturating_sub(start.elapsed()).as_secs();
                println!("{} inferences, {memory}, {left} s left", runs.load(Ordering::Relaxed));
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
    memory.look(true);
    let [runs, sessions, wrong] = [runs, sessions, wrong].map(AtomicU64::into_inner);
    println!("{runs} inferences in {sessions} sessions, {wrong} with other bits; {memory}");
    let grew = memory.grew();
    if grew {
        eprintln!("memory grew: expected at most {} MB more than at a tenth of the time", GROWTH >> 20);
    }
    Ok(if wrong > 0 || grew || runs == 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Takes workloads until it is told to stop. Counts inferences, sessions, and inferences with other bits.
fn work(worker: usize, workloads: &[Workload], stop: &AtomicBool, [runs, sessions, wrong]: [&AtomicU64; 3]) {
    let mut random = Random(0x9e37_79b9_7f4a_7c15 ^ (worker as u64 + 1));
    let isas: Vec<Isa> = Isa::available().into_iter().filter(|isa| isa.fuses()).collect();
    while !stop.load(Ordering::Relaxed) {
        let Workload { name, model, .. } = &workloads[random.below(workloads.len())];
        let of_model: Vec<&Workload> = workloads.iter().filter(|other| &other.name == name).collect();
        let threads = 1 + random.below(4);
        let mut options =
            SessionOptions::new().threads(threads).tuned_for(TunedFor::ALL[random.below(TunedFor::ALL.len())]);
        if !isas.is_empty() {
            options = options.isa(isas[random.below(isas.len())]);
        }
        let mut session = Session::with(model, options).expect("a session that could be made before");
        sessions.fetch_add(1, Ordering::Relaxed);
        // Shapes in turn lay out the session's memory anew.
        for _ in 0..1 + random.below(12) {
            let workload = of_model[random.below(of_model.len())];
            let found = checksum(&mut session, &workload.input);
            runs.fetch_add(1, Ordering::Relaxed);
            if found != workload.checksum {
                wrong.fetch_add(1, Ordering::Relaxed);
                let isa = session.isa();
                eprintln!("other bits: {name}, {:?}, {threads} threads, {isa}", workload.input.shape());
            }
        }
    }
}

/// Every network on every shape, in f32 and in int8.
fn workloads() -> Result<Vec<Workload>, mnx::Error> {
    let mut workloads = Vec::new();
    for (family, width) in NETWORKS {
        let mut spec = Spec::family(family).expect("a family");
        spec.width = width;
        spec.classes = 21;
        if family.starts_with("resnet") {
            spec.stem.channels /= 4;
            spec.stages.iter_mut().for_each(|stage| stage.channels /= 4);
        }
        let f32 = Model::from_bytes(mnx::init(&spec, 1)?)?;
        let mut calibration = Calibration::new(&f32)?;
        calibration.observe(&mut Session::new(&f32)?, input([2, 64, 64])?.view())?;
        let int8 = Model::from_bytes(quantize(&f32, &calibration, &Options::new())?.file)?;
        for (model, element) in [(f32, "f32"), (int8, "int8")] {
            for shape in SHAPES {
                let (name, input) = (format!("{family} {width} {element}"), input(shape)?);
                // Where no ISA fuses, scalar's bits are everybody's.
                let mut options = SessionOptions::new().threads(1);
                if let Some(isa) = Isa::available().into_iter().find(|isa| isa.fuses()) {
                    options = options.isa(isa);
                }
                let checksum = checksum(&mut Session::with(&model, options)?, &input);
                workloads.push(Workload { name, model: model.clone(), input, checksum });
            }
        }
    }
    Ok(workloads)
}

/// Pixels of no picture.
fn input([batch, height, width]: [usize; 3]) -> Result<Tensor, mnx::Error> {
    let mut random = Random(7 + (batch * height * width) as u64);
    let values: Vec<f32> = (0..batch * 3 * height * width).map(|_| random.below(2000) as f32 / 1000.0 - 1.0).collect();
    Ok(Tensor::from_slice([batch, 3, height, width], &values)?)
}

/// Of all bits of all outputs (FNV-1a).
fn checksum(session: &mut Session, input: &Tensor) -> u64 {
    let outputs = session.run(input.view()).expect("an inference that could be made before");
    let bits = outputs.iter().flat_map(|(_, output)| output.data().iter().map(|value| u64::from(value.to_bits())));
    bits.fold(0xcbf2_9ce4_8422_2325, |sum, bits| (sum ^ bits).wrapping_mul(0x0100_0000_01b3))
}

/// What the process has resident, in bytes: when it had warmed up, at most, and now. 0 where the system does not say.
#[derive(Default)]
struct Memory {
    warm: u64,
    most: u64,
    now: u64,
}

impl Memory {
    fn look(&mut self, is_warm: bool) {
        let Ok(text) = std::fs::read_to_string("/proc/self/status") else { return };
        let kilobytes =
            text.lines().find_map(|line| line.strip_prefix("VmRSS:")?.split_whitespace().next()?.parse::<u64>().ok());
        self.now = kilobytes.unwrap_or(0) << 10;
        self.most = self.most.max(self.now);
        if is_warm && self.warm == 0 {
            self.warm = self.most;
        }
    }

    fn grew(&self) -> bool {
        self.now > self.warm + GROWTH
    }
}

impl std::fmt::Display for Memory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.now == 0 {
            return f.write_str("SKIPPED: memory, which this system does not tell");
        }
        write!(f, "{} MB resident, {} when warm, {} at most", self.now >> 20, self.warm >> 20, self.most >> 20)
    }
}

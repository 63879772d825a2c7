use std::sync::Mutex;
use std::time::Duration;

use super::*;

impl<F: FnMut(usize, usize)> Job for F {
    fn unit(&mut self, phase: usize, unit: usize) {
        self(phase, unit);
    }
}

fn phases(workers: usize, units: &[usize]) -> Vec<Phase> {
    let ready = |&units: &usize| {
        let mut phase = Phase::new(workers).unwrap();
        phase.reset(units);
        phase
    };
    units.iter().map(ready).collect()
}

#[test]
fn every_unit_runs_once_and_phases_keep_their_order() {
    for helpers in 0..4 {
        let team = Arc::new(Team::new(helpers));
        for _ in 0..50 {
            let phases = phases(helpers + 1, &[3, 1, 0, 8, 2]);
            let seen = Mutex::new(Vec::new());
            let spawn = |helper: Helper| drop(std::thread::spawn(|| helper.run()));
            let job =
                |worker| work_through(&phases, team.bell(), worker, &mut |p, u| seen.lock().unwrap().push((p, u)));
            // SAFETY: one run at a time.
            unsafe { Team::run(&team, spawn, &job) };
            let mut seen = seen.into_inner().unwrap();
            assert!(seen.is_sorted_by_key(|s| s.0));
            seen.sort_unstable();
            let all = [3, 1, 0, 8, 2].iter().enumerate().flat_map(|(p, &n)| (0..n).map(move |u| (p, u)));
            assert_eq!(seen, all.collect::<Vec<_>>());
        }
    }
}

/// A pool whose threads are all busy: nothing is waited for, and what it was given once serves later runs.
#[test]
fn helpers_that_do_not_start_are_not_missed_and_not_replaced() {
    let team = Arc::new(Team::new(3));
    let late = Mutex::new(Vec::new());
    let queue = |helper| late.lock().unwrap().push(helper);
    for _ in 0..1_000 {
        let phases = phases(4, &[4, 4]);
        let job = |worker| work_through(&phases, team.bell(), worker, &mut |_, _| assert_eq!(worker, 0));
        // SAFETY: one run at a time.
        unsafe { Team::run(&team, queue, &job) };
    }
    let mut late = late.into_inner().unwrap();
    assert_eq!(late.len(), 3);
    // One comes when there is no run and is used up, two come during the next run and work in it with numbers of their own.
    late.pop().unwrap().run();
    let (late, new, workers) = (Mutex::new(late), Mutex::new(Vec::new()), Mutex::new(Vec::new()));
    let job = |worker| {
        workers.lock().unwrap().push(worker);
        let next = late.lock().unwrap().pop();
        if let Some(helper) = next {
            helper.run();
        }
    };
    // SAFETY: one run at a time.
    unsafe { Team::run(&team, |helper| new.lock().unwrap().push(helper), &job) };
    assert_eq!(workers.into_inner().unwrap(), [0, 1, 2]);
    let new = new.into_inner().unwrap();
    assert_eq!(new.len(), 1);
    // It comes when the team is of no more use to anybody else.
    drop(team);
    new.into_iter().for_each(Helper::run);
}

/// Who waits long sleeps: a thread of lower priority gets the core.
#[test]
#[cfg(target_os = "linux")]
fn long_waits_do_not_use_the_core() {
    let used = || {
        let schedule = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
        Duration::from_nanos(schedule.split(' ').next().unwrap().parse().unwrap())
    };
    let (team, phases) = (Arc::new(Team::new(1)), phases(2, &[2]));
    let (together, before) = (std::sync::Barrier::new(2), used());
    let job = |worker| {
        // Each of the two takes the unit of its own share.
        together.wait();
        let sleep = || std::thread::sleep(Duration::from_millis(if worker > 0 { 300 } else { 30 }));
        work_through(&phases, team.bell(), worker, &mut |_, _| sleep());
    };
    // SAFETY: one run at a time.
    unsafe { Team::run(&team, |helper| drop(std::thread::spawn(|| helper.run())), &job) };
    let used = used() - before;
    assert!(used < Duration::from_millis(100), "{used:?} of the core while another thread worked for 300 ms");
}

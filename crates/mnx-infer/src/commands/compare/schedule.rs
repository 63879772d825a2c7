//! The order in which networks are measured.

use crate::commands::timing::in_round;

/// Most rounds of a measurement.
const ROUNDS: usize = 20;

/// One network's share of a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Turn {
    /// Index of the network.
    pub(super) network: usize,
    /// How many inferences count.
    pub(super) inferences: usize,
}

/// The rounds in which each of `networks` is measured `iterations` times. Every network has a turn in every round, and
/// each round begins with the network after the one that the last round began with: none is always the first, or the
/// one after a long pause.
pub(super) fn rounds(networks: usize, iterations: usize) -> Vec<Vec<Turn>> {
    let rounds = ROUNDS.min(iterations);
    let round = |round: usize| {
        let inferences = in_round(iterations, round, rounds);
        (0..networks).map(|turn| Turn { network: (round + turn) % networks, inferences }).collect()
    };
    (0..rounds).map(round).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_network_has_its_inferences_in_every_round() {
        for (networks, iterations) in [(1, 1), (1, 100), (2, 3), (3, 100), (4, 19), (5, 20), (7, 1001), (30, 7)] {
            let rounds = rounds(networks, iterations);
            assert_eq!(rounds.len(), iterations.min(ROUNDS));
            let mut counted = vec![0; networks];
            for round in &rounds {
                let mut seen: Vec<_> = round.iter().map(|turn| turn.network).collect();
                seen.sort_unstable();
                assert!(seen.into_iter().eq(0..networks), "{round:?}");
                assert!(round.iter().all(|turn| turn.inferences == round[0].inferences && turn.inferences > 0));
                round.iter().for_each(|turn| counted[turn.network] += turn.inferences);
            }
            assert_eq!(counted, vec![iterations; networks]);
            let (least, most) =
                rounds.iter().map(|r| r[0].inferences).fold((usize::MAX, 0), |(a, b), n| (a.min(n), b.max(n)));
            assert!(most - least <= 1, "{iterations}: {least} to {most}");
        }
    }

    #[test]
    fn the_order_rotates() {
        let order = |round: &Vec<Turn>| round.iter().map(|turn| turn.network).collect::<Vec<_>>();
        let orders: Vec<_> = rounds(3, 4).iter().map(order).collect();
        assert_eq!(orders, [[0, 1, 2], [1, 2, 0], [2, 0, 1], [0, 1, 2]]);
    }
}

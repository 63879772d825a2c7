//! Multiply-adds, by what they are computed with.

use mnx::{Arithmetic, LayerInfo, Model};

use super::machine::Peaks;

/// Multiply-adds of one picture.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Macs {
    /// Those of layers in f32.
    pub(crate) f32: u64,
    /// Those of layers in int8.
    pub(crate) int8: u64,
}

impl Macs {
    /// Of a network at its own resolution.
    pub(crate) fn of(model: &Model) -> Macs {
        let side = model.spec().resolution;
        let layers = model.network().place(side, side).map(|layer| (model.arithmetic()[layer.index], layer.macs()));
        Macs::sum(layers)
    }

    /// Of layers as a session runs them.
    pub(crate) fn of_layers<'a>(layers: impl IntoIterator<Item = &'a LayerInfo>) -> Macs {
        Macs::sum(layers.into_iter().map(|layer| (layer.arithmetic, layer.macs)))
    }

    fn sum(layers: impl Iterator<Item = (Arithmetic, u64)>) -> Macs {
        layers.fold(Macs::default(), |sum, (arithmetic, macs)| match arithmetic {
            Arithmetic::Int8 => Macs { int8: sum.int8.saturating_add(macs), ..sum },
            _ => Macs { f32: sum.f32.saturating_add(macs), ..sum },
        })
    }

    pub(crate) fn total(self) -> u64 {
        self.f32.saturating_add(self.int8)
    }

    /// The rate at which a batch is computed in so many milliseconds; a multiply-add is two operations.
    pub(crate) fn gflops(self, batch: usize, milliseconds: f64) -> f64 {
        2.0 * self.total() as f64 * batch as f64 / (milliseconds * 1e6)
    }

    /// How long a batch takes at the peaks, of how long it took.
    pub(crate) fn percent_of_peak(self, batch: usize, milliseconds: f64, peaks: &Peaks) -> f64 {
        100.0 * self.milliseconds_at(peaks) * batch as f64 / milliseconds
    }

    /// How long one picture takes at the peaks.
    pub(crate) fn milliseconds_at(self, peaks: &Peaks) -> f64 {
        let at = |macs: u64, gmacs: f64| if macs == 0 { 0.0 } else { macs as f64 / (gmacs * 1e6) };
        at(self.f32, peaks.fma_peak_gflops / 2.0) + at(self.int8, peaks.dot_peak_gmacs.unwrap_or(0.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_counts_by_its_own_peak() {
        let peaks = Peaks { fma_peak_gflops: 100.0, dot_peak_gmacs: Some(200.0), ..Peaks::default() };
        let macs = Macs { f32: 50_000_000, int8: 0 };
        assert_eq!((macs.milliseconds_at(&peaks), macs.gflops(2, 4.0)), (1.0, 50.0));
        assert_eq!(macs.percent_of_peak(2, 4.0, &peaks), 50.0);
        let mixed = Macs { int8: 200_000_000, ..macs };
        assert_eq!((mixed.total(), mixed.milliseconds_at(&peaks)), (250_000_000, 2.0));
        assert_eq!(Macs::default().milliseconds_at(&Peaks { fma_peak_gflops: 1.0, ..Peaks::default() }), 0.0);
    }
}

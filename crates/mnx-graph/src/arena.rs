//! Where each activation lies in a workspace. Values that are never needed at the same time share memory.

use mnx_tensor::{BlockedShape, Blocking};

/// Bytes of a cache line. Every value starts on one.
pub(crate) const LINE: usize = 64;

/// One activation of one picture.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slot {
    /// The value's number in its [`Layout`].
    pub(crate) id: usize,
    /// Bytes from the start of the workspace.
    pub(crate) offset: usize,
    pub(crate) shape: BlockedShape,
}

impl Default for Slot {
    /// A value without elements.
    fn default() -> Self {
        let shape = BlockedShape { blocking: Blocking::F32, channels: 0, height: 0, width: 0, plane: 0 };
        Slot { id: usize::MAX, offset: 0, shape }
    }
}

/// All values, each with the first and the last step that needs it.
#[derive(Debug, Default)]
pub(crate) struct Layout {
    lives: Vec<Life>,
}

#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "guarded", allow(dead_code, reason = "nothing shares memory there"))]
struct Life {
    bytes: usize,
    first: usize,
    last: usize,
}

impl Layout {
    /// Adds a value that step `step` writes.
    pub(crate) fn value(&mut self, shape: BlockedShape, step: usize) -> Slot {
        // Whole cache lines, so that the next value starts on one.
        self.lives.push(Life { bytes: shape.bytes().next_multiple_of(LINE), first: step, last: step });
        Slot { id: self.lives.len() - 1, offset: 0, shape }
    }

    /// Notes that step `step` reads the value.
    pub(crate) fn used(&mut self, slot: Slot, step: usize) {
        if let Some(life) = self.lives.get_mut(slot.id) {
            life.last = life.last.max(step);
        }
    }

    /// Places every value and returns the bytes needed in all; `set` is called with each value's id and offset.
    ///
    /// The largest values come first. Each goes as low as it can without overlapping a value that is needed at the same time.
    /// For a chain of layers the total is that of the largest pair of neighbours: the least that is possible. `usize::MAX` stands
    /// for one that cannot be counted.
    #[cfg(not(feature = "guarded"))]
    pub(crate) fn place(&self, mut set: impl FnMut(usize, usize)) -> usize {
        let mut order: Vec<usize> = (0..self.lives.len()).collect();
        order.sort_by_key(|&i| (usize::MAX - self.lives[i].bytes, i));
        let mut placed: Vec<(usize, Life)> = Vec::new();
        for id in order {
            let life = self.lives[id];
            let mut offset = 0_usize;
            // `placed` is sorted by offset, so this finds the first gap that is large enough.
            for &(start, other) in placed.iter().filter(|(_, o)| o.first <= life.last && life.first <= o.last) {
                if offset.saturating_add(life.bytes) <= start {
                    break;
                }
                offset = offset.max(start.saturating_add(other.bytes));
            }
            let at = placed.partition_point(|&(start, _)| start <= offset);
            placed.insert(at, (offset, life));
            set(id, offset);
        }
        placed.iter().map(|(offset, life)| offset.saturating_add(life.bytes)).max().unwrap_or(0)
    }

    /// Places every value apart from all others, between two pages of its own.
    #[cfg(feature = "guarded")]
    pub(crate) fn place_apart(&self, mut set: impl FnMut(usize, usize)) -> Option<crate::guarded::Places> {
        let mut places = crate::guarded::Places::new();
        for (id, life) in self.lives.iter().enumerate() {
            set(id, places.add(life.bytes, LINE)?);
        }
        Some(places)
    }
}

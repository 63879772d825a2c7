//! Where each activation lies in a session's memory: values that are never needed at the same time share it.

use mnx_tensor::{BlockedShape, Blocking};

/// Bytes of a cache line, on which every value starts.
pub(crate) const LINE: usize = 64;

/// One activation of one picture.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slot {
    /// Which value it is.
    pub(crate) id: usize,
    /// Bytes from the start of the picture's memory.
    pub(crate) offset: usize,
    pub(crate) shape: BlockedShape,
}

impl Default for Slot {
    /// A value of no elements.
    fn default() -> Self {
        let shape = BlockedShape { blocking: Blocking::F32, channels: 0, height: 0, width: 0, plane: 0 };
        Slot { id: usize::MAX, offset: 0, shape }
    }
}

/// All values with the steps between which they are needed.
#[derive(Debug, Default)]
pub(crate) struct Layout {
    lives: Vec<Life>,
}

#[derive(Clone, Copy, Debug)]
struct Life {
    bytes: usize,
    first: usize,
    last: usize,
}

impl Layout {
    /// A value that step `step` writes.
    pub(crate) fn value(&mut self, shape: BlockedShape, step: usize) -> Slot {
        // A whole number of cache lines, so that the next value starts on one.
        self.lives.push(Life { bytes: shape.bytes().next_multiple_of(LINE), first: step, last: step });
        Slot { id: self.lives.len() - 1, offset: 0, shape }
    }

    /// Step `step` reads it.
    pub(crate) fn used(&mut self, slot: Slot, step: usize) {
        if let Some(life) = self.lives.get_mut(slot.id) {
            life.last = life.last.max(step);
        }
    }

    /// Calls `set` with each value's id and offset; returns the bytes needed in all. The largest come first,
    /// each as low as the values allow that live at the same time: for a chain of layers this reaches the largest pair.
    pub(crate) fn place(&self, mut set: impl FnMut(usize, usize)) -> usize {
        let mut order: Vec<usize> = (0..self.lives.len()).collect();
        order.sort_by_key(|&i| (usize::MAX - self.lives[i].bytes, i));
        let mut placed: Vec<(usize, Life)> = Vec::new();
        for id in order {
            let life = self.lives[id];
            let mut offset = 0;
            // `placed` is sorted by offset: the first gap that is large enough is taken.
            for &(start, other) in placed.iter().filter(|(_, o)| o.first <= life.last && life.first <= o.last) {
                if offset + life.bytes <= start {
                    break;
                }
                offset = offset.max(start + other.bytes);
            }
            let at = placed.partition_point(|&(start, _)| start <= offset);
            placed.insert(at, (offset, life));
            set(id, offset);
        }
        placed.iter().map(|(offset, life)| offset + life.bytes).max().unwrap_or(0)
    }
}

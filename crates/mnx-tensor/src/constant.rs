//! Code for numbers that are constants: loops without a loop, and calls of the function for a size.
//!
//! A kernel has a tile for every number of pixels, and all tiles are one function. The compiler spends the more time on a loop the more
//! loops a function has, and it compiles tiles that nobody calls. With plain loops and matches the crate took half as long again to build.

/// Repeats `$body` for each `$i` from 0 to `$n` - 1, where `$n` is the name of a constant of at most 16: `unrolled!(p in PIXELS => …)`.
///
/// Where one stands in another the numbers are listed, so that there are fewer repetitions to strike out:
/// `unrolled!(n in 0 1 2 of PANELS => …)`, or `unrolled!(k in 0 1 2 => …)` for all of them.
macro_rules! unrolled {
    ($i:ident in $($value:literal)+ => $body:expr) => {{
        $({
            let $i: usize = $value;
            $body;
        })+
    }};
    ($i:ident in $($value:literal)+ of $n:expr => $body:expr) => {{
        // At run time, and gone where it holds: a `const` would refuse instances, too, that `sized!` names and never calls.
        assert!($n <= [$($value),+].len());
        $(if const { $value < $n } {
            let $i: usize = $value;
            $body;
        })+
    }};
    ($i:ident in $n:expr => $body:expr) => {
        unrolled!($i in 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 of $n => $body)
    };
}

/// Calls the instance of a function whose last parameter is `$count`, from `$least` to `$most` (at most 16), both constants; any other count
/// calls that of `$most`: `sized!(count in 1 to MAX, tile::<S, STRIDE>(s, part))`. Each instance exists once, and only those. A caller
/// whose `$least` is not 1 makes sure that no smaller count comes: the tile would write behind its pixels.
macro_rules! sized {
    ($count:tt in $least:tt to $most:tt, $tile:ident::<$($parameter:tt),+>$arguments:tt) => {
        sized!(@ $count, $least, $most, $tile, [$($parameter),+], $arguments, 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15)
    };
    (@ $count:tt, $least:tt, $most:tt, $tile:ident, $parameters:tt, $arguments:tt, $($size:literal)+) => {{
        const { assert!($most <= 16) };
        match $count {
            $($size if const { $least <= $size && $size < $most } => sized!(@call $tile, $parameters, $size, $arguments),)+
            _ => sized!(@call $tile, $parameters, { $most }, $arguments),
        }
    }};
    (@call $tile:ident, [$($parameter:tt),+], $size:tt, ($($argument:expr),*)) => {
        $tile::<$($parameter,)+ $size>($($argument),*)
    };
}

pub(crate) use {sized, unrolled};

#[cfg(test)]
mod tests {
    fn counted<const N: usize>() -> Vec<usize> {
        let mut found = Vec::new();
        unrolled!(i in N => found.push(i));
        found
    }

    #[test]
    fn every_number_comes_once_and_in_order() {
        assert_eq!(counted::<0>(), []);
        assert_eq!(counted::<5>(), [0, 1, 2, 3, 4]);
        assert_eq!(counted::<16>(), (0..16).collect::<Vec<_>>());
    }

    #[test]
    #[should_panic]
    fn none_is_left_out() {
        counted::<17>();
    }

    #[test]
    fn numbers_may_be_listed() {
        let mut found = Vec::new();
        unrolled!(i in 0 1 2 => unrolled!(j in 0 1 of 1 => found.push((i, j))));
        assert_eq!(found, [(0, 0), (1, 0), (2, 0)]);
    }

    #[test]
    fn the_size_that_is_called_is_the_count() {
        fn product<const FACTOR: usize, const N: usize>(more: usize) -> usize {
            FACTOR * N + more
        }
        for count in 3..=7 {
            assert_eq!(sized!(count in 3 to 7, product::<2>(10)), 2 * count + 10);
        }
    }
}

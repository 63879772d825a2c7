//! Decodes pictures, one after the other, to standard output: as PPM (`P6 width height 255`, a line
//! feed, red, green and blue bytes), or the error on a line of its own.
//!
//! ```sh
//! cargo run --release -p mobilenext --features image --example decode -- cat.jpg > cat.ppm
//! ```
//!
//! `tools/compare_decoding.py` reads this.

use std::io::{self, Write};

use mnx::Picture;

fn main() -> io::Result<()> {
    let mut output = io::stdout().lock();
    for path in std::env::args_os().skip(1) {
        match Picture::open(path) {
            Ok(picture) => {
                writeln!(output, "P6 {} {} 255", picture.width(), picture.height())?;
                output.write_all(picture.pixels())?;
            }
            Err(error) => writeln!(output, "{}", error.to_string().replace('\n', " "))?,
        }
    }
    Ok(())
}

//! Which kernels there are.

use mnx::{Isa, KernelInfo, TunedFor};
use serde::Serialize;
use serde_json::json;

use super::tile;
use crate::context::{Context, instructions};
use crate::error::Error;
use crate::stdout;
use crate::table::plain_table;

/// The kernel table of this build.
pub(super) fn show(context: &Context) -> Result<(), Error> {
    let kernels = mnx::kernels();
    if !context.is_json() {
        return stdout::print(&kernel_table(&kernels));
    }
    let rows = kernels.iter().map(|kernel| KernelRow {
        isa: kernel.isa.name(),
        dot_products: kernel.dot_products,
        amx: kernel.amx,
        arithmetic: kernel.arithmetic.name(),
        tuned_for: kernel.tuned_for.name(),
        available: kernel.available,
        name: kernel.name,
        tile: kernel.tile.into(),
    });
    stdout::print_json(&json!({"kernels": rows.collect::<Vec<_>>()}))
}

#[derive(Serialize)]
struct KernelRow {
    isa: &'static str,
    /// Whether it needs the CPU's instructions for dot products of bytes as well.
    dot_products: bool,
    /// Whether it needs AMX, too.
    amx: bool,
    /// What it computes with.
    arithmetic: &'static str,
    /// For which cores its tile was chosen.
    tuned_for: &'static str,
    /// Whether this CPU can run it.
    available: bool,
    name: &'static str,
    /// Pixels (or rows) x output channels.
    tile: [usize; 2],
}

/// What the kernels of a column have in common.
fn column(of: &KernelInfo) -> (Isa, TunedFor, bool, bool) {
    (of.isa, of.tuned_for, of.dot_products, of.amx)
}

/// A row per kernel; a column per ISA, kind of core, and whether dot products of bytes are used.
fn kernel_table(kernels: &[KernelInfo]) -> String {
    let mut columns: Vec<&KernelInfo> = Vec::new();
    let mut rows: Vec<&KernelInfo> = Vec::new();
    for kernel in kernels {
        if !columns.iter().any(|known| column(known) == column(kernel)) {
            columns.push(kernel);
        }
        if !rows.iter().any(|known| (known.name, known.arithmetic) == (kernel.name, kernel.arithmetic)) {
            rows.push(kernel);
        }
    }
    columns.sort_by_key(|of| (Isa::ALL.iter().position(|&isa| isa == of.isa), of.amx, of.dot_products, of.tuned_for));
    let head = |of: &&KernelInfo| {
        let core = if of.tuned_for == TunedFor::Any { String::new() } else { format!(" {}", of.tuned_for) };
        let dot = instructions(of.dot_products, of.amx);
        if of.available { format!("{}{dot}{core}", of.isa) } else { format!("({}{dot}{core})", of.isa) }
    };
    let heads: Vec<String> =
        ["kernel".into(), "arithmetic".into()].into_iter().chain(columns.iter().map(head)).collect();
    let cells = |row: &&KernelInfo| {
        let tile_of = |of: &&KernelInfo| {
            let here = |kernel: &&KernelInfo| {
                column(kernel) == column(of) && (kernel.name, kernel.arithmetic) == (row.name, row.arithmetic)
            };
            kernels.iter().find(here).map_or("-".into(), |kernel| tile(kernel.tile))
        };
        let names = [row.name.to_owned(), row.arithmetic.to_string()];
        names.into_iter().chain(columns.iter().map(tile_of)).collect()
    };
    let header: Vec<_> = heads.iter().map(String::as_str).collect();
    let table = plain_table(&format!("ll{}", "r".repeat(columns.len())), &header, rows.iter().map(cells));
    format!("{table}\n{}", legend(&columns))
}

/// How to read the table.
fn legend(columns: &[&KernelInfo]) -> String {
    let lacks = |isa: &&Isa| columns.iter().any(|column| column.isa == **isa && !column.available);
    let lacking = Isa::ALL.iter().filter(|isa| !isa.is_available()).filter(lacks).map(|isa| isa.name().to_owned());
    let lacking_dot = columns.iter().filter(|of| of.dot_products && !of.amx && of.isa.is_available() && !of.available);
    let lacks_amx = columns.iter().any(|of| of.amx && of.isa.is_available() && !of.available);
    let lacking = lacking.chain(lacking_dot.map(|of| format!("{} dot", of.isa)));
    let lacking: Vec<_> = lacking.chain(lacks_amx.then(|| "amx".to_owned())).collect();
    let lacking = if lacking.is_empty() { String::new() } else { format!("; this CPU lacks {}", lacking.join(", ")) };
    let found = TunedFor::detect();
    format!(
        "tiles in pixels (rows of linear) x output channels; dot: with the CPU's dot products of bytes; amx: with AMX, too{lacking}\n\
         this CPU is tuned for {found}: a kernel without a column of that name runs as in the one without;\n\
         a kernel without a column amx runs as in dot; an int8 kernel that an ISA lacks runs as in scalar\n"
    )
}

//! What an object file of kernel programs holds: each program's hook, name and instructions.

use std::fmt::Write as _;

use object::{Object as _, ObjectSection as _, ObjectSymbol as _, SymbolKind};

/// The kernel counts instructions of eight bytes.
const INSTRUCTION_BYTES: u64 = 8;

struct Function {
    section: String,
    name: String,
    instructions: u64,
}

/// A table with a line for each program, in the order of hooks and names.
pub(crate) fn list(object: &[u8]) -> anyhow::Result<String> {
    let mut functions = functions(object)?;
    functions.sort_by(|a, b| (&a.section, &a.name).cmp(&(&b.section, &b.name)));
    let mut text = format!("{:<28} {:<28} {:>12}\n", "SECTION", "PROGRAM", "INSTRUCTIONS");
    for Function { section, name, instructions } in &functions {
        writeln!(text, "{section:<28} {name:<28} {instructions:>12}")?;
    }
    let total: u64 = functions.iter().map(|function| function.instructions).sum();
    writeln!(text, "{:<28} {:<28} {total:>12}", "", format!("{} in all", functions.len()))?;
    Ok(text)
}

fn functions(object: &[u8]) -> anyhow::Result<Vec<Function>> {
    let file = object::File::parse(object)?;
    let mut functions = Vec::new();
    for symbol in file.symbols().filter(|symbol| symbol.kind() == SymbolKind::Text) {
        let Some(section) = symbol.section_index() else { continue };
        functions.push(Function {
            section: file.section_by_index(section)?.name()?.to_owned(),
            name: symbol.name()?.to_owned(),
            instructions: symbol.size() / INSTRUCTION_BYTES,
        });
    }
    Ok(functions)
}

//! Another owner's programs on a node's hooks, for as long as there is input; says for each line how
//! often each has run, by the hook's name.

use std::{
    collections::BTreeMap,
    io::{self, BufRead as _},
    path::Path,
};

use anyhow::Result;

use crate::stranger::{self, Counting};

pub(super) fn run(cgroup: &str, links: &[&str]) -> Result<()> {
    let all = stranger::on_node(Path::new(cgroup), links)?;
    let _counting = Counting::start()?;
    for line in io::stdin().lock().lines() {
        line?;
        let mut runs: BTreeMap<&str, u64> = BTreeMap::new();
        for one in &all {
            *runs.entry(one.hook.name).or_default() += one.runs()?;
        }
        println!("{}", serde_json::to_string(&runs)?);
    }
    Ok(())
}

//! How a demo speaks: numbered steps, commands with their answers, bars.

use std::process::Command;

use anyhow::ensure;

use crate::{agent::Agent, interrupt};

/// The steps so far.
#[derive(Debug, Default)]
pub(super) struct Telling {
    step: u8,
}

impl Telling {
    /// The next step.
    pub(super) fn say(&mut self, text: &str) {
        self.step += 1;
        println!("\n  {}  {text}", self.step);
    }
}

/// A command of the program, with its answer.
pub(super) fn sekisho(agent: &Agent, words: &[&str], expected: Option<i32>) -> anyhow::Result<()> {
    println!("     $ sekisho {}", words.join(" "));
    let mut command: Command = agent.ask(words[0]);
    let output = command.args(&words[1..]).output()?;
    let said = [output.stdout, output.stderr].concat();
    print!("{}", indented(&String::from_utf8_lossy(&said)));
    interrupt::check()?;
    ensure!(output.status.code() == expected, "it ended with {}", output.status);
    Ok(())
}

pub(super) fn indented(text: &str) -> String {
    text.lines().flat_map(|line| ["       ", line, "\n"]).collect()
}

/// A bar for each name, as long as its share of all.
pub(super) fn bars(shares: &[(&str, usize)]) -> String {
    const WIDTH: usize = 50;
    let all = shares.iter().map(|(_, count)| count).sum::<usize>().max(1);
    let bar = |(name, count): &(&str, usize)| {
        let long = (count * WIDTH).div_ceil(all);
        format!("       {name:<8} {:<WIDTH$} {count:>4}\n", "█".repeat(long))
    };
    shares.iter().map(bar).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_is_as_long_as_its_share() {
        let bars = bars(&[("v1", 90), ("v2", 10), ("failed", 0)]);
        let lengths: Vec<usize> = bars.lines().map(|line| line.matches('█').count()).collect();
        assert_eq!(lengths, [45, 5, 0]);
        assert!(bars.lines().next().unwrap_or_default().ends_with("  90"), "{bars}");
    }
}

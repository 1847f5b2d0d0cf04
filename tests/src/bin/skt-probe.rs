//! The probe as a program of its own, which the suites start; what it does is [`probe`].

use sekisho_tests::probe;

fn main() -> anyhow::Result<()> {
    probe::run(std::env::args().skip(1))
}

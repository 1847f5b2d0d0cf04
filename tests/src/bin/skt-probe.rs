//! What the suites start inside a pod, as a program of its own; what it does is [`pod`].

use sekisho_tests::pod;

fn main() -> anyhow::Result<()> {
    pod::run(std::env::args().skip(1))
}

//! What takes an address out of the rules although it was not revoked: an endpoint that is not ready, or
//! left, a Service's address that moved, a list that comes back shorter. Open connections go on, new
//! ones are refused. What a person takes back ends at once.

mod case;

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use case::{Case, Endpoint, GRACE, PORT, PROXIED, SOON, UDP, at, goes_on};
use rstest::rstest;
use sekisho_tests::{client::Client, manifest::NAMESPACE, shared::Source, skip, stage::Net};

/// It is reset, within this time.
fn ends_within(held: &mut Client, patience: Duration) -> Result<Duration> {
    let start = Instant::now();
    while start.elapsed() < patience {
        if goes_on(held).is_err() {
            return Ok(start.elapsed());
        }
        thread::sleep(Duration::from_millis(50));
    }
    bail!("it still goes on after {patience:?}")
}

/// Whether a case is left out. The kernel does not know where a rule came from, so that a server has
/// the first case of each test only, where the run is not a long one.
fn is_left_out(source: Source, is_first: bool) -> bool {
    let repeats = source == Source::Server && !is_first;
    source.is_left_out() || (repeats && skip::is_for_long_runs())
}

#[rstest]
fn what_is_open_to_an_endpoint_that_is_not_ready_goes_on_until_it_has_left_for_good(
    #[values(PORT, PROXIED, UDP)] port: u16,
    #[values(Net::V4, Net::V6)] net: Net,
    #[values(Source::Directory, Source::Server)] source: Source,
) -> Result<()> {
    if is_left_out(source, (port, net) == (PORT, Net::V4)) {
        return Ok(());
    }
    let mut case = Case::new((net, source), GRACE)?;
    let (first, second) = (case.to(1, port), case.to(2, port));
    case.wait(first, true)?;
    let mut held = case.hold(first)?;

    // A probe that flaps.
    for how in [Endpoint::Unready, Endpoint::Ready, Endpoint::Unready] {
        case.endpoints(&[(1, how), (2, Endpoint::Ready)])?;
        case.wait(first, how == Endpoint::Ready)?;
        goes_on(&mut held).with_context(|| format!("{how:?}"))?;
    }
    // It is told to end, and takes longer than the grace.
    case.endpoints(&[(1, Endpoint::Terminating), (2, Endpoint::Ready)])?;
    case.wait(first, false)?;
    thread::sleep(GRACE + Duration::from_secs(3));
    goes_on(&mut held).context("terminating")?;
    case.wait(second, true)?;
    case.wait(first, false)?;

    // An agent that did not see it ready knows as well.
    case.agent.kill()?;
    case.start()?;
    if port == PROXIED {
        // A proxied connection ends with the agent.
        case.endpoints(&[(1, Endpoint::Ready), (2, Endpoint::Ready)])?;
        case.wait(first, true)?;
        held = case.hold(first)?;
    }
    goes_on(&mut held).context("after a restart")?;

    case.endpoints(&[(2, Endpoint::Ready)])?;
    case.wait(first, false)?;
    goes_on(&mut held).context("within the grace")?;
    let took = ends_within(&mut held, GRACE + SOON)?;
    println!("{net:?} {port} {source:?}: ended {took:?} after it left");
    Ok(())
}

#[rstest]
fn what_is_open_to_an_address_that_a_service_has_left_goes_on_for_the_grace(
    #[values(PORT, PROXIED)] port: u16,
    #[values(Net::V4, Net::V6)] net: Net,
    #[values(Source::Directory, Source::Server)] source: Source,
) -> Result<()> {
    // The tests' server gives out addresses of one family.
    if source.is_left_out() || (source, net) == (Source::Server, Net::V6) {
        return Ok(());
    }
    let mut case = Case::new((net, source), GRACE)?;
    case.endpoints(&[])?;
    case.vip(1)?;
    case.wait(case.to(1, port), true)?;
    let mut held = case.hold(case.to(1, port))?;

    // An address cannot be changed: the Service is made again.
    case.agent.config().remove("vip")?;
    case.vip(2)?;
    case.wait(case.to(2, port), true)?;
    case.wait(case.to(1, port), false)?;
    thread::sleep(GRACE / 4);
    goes_on(&mut held).context("within the grace")?;
    ends_within(&mut held, GRACE + SOON)?;
    Ok(())
}

/// A selector that selects nothing for a moment, and objects that are not listed for one: what comes
/// back within the grace was never missed.
#[rstest]
fn what_is_gone_for_a_moment_is_not_missed(
    #[values(PORT, UDP)] port: u16,
    #[values(Source::Directory, Source::Server)] source: Source,
) -> Result<()> {
    if is_left_out(source, port == PORT) {
        return Ok(());
    }
    let long = Duration::from_mins(1);
    let mut case = Case::new((Net::V4, source), long)?;
    let all = [(1, Endpoint::Ready), (2, Endpoint::Ready)];
    let first = case.to(1, port);
    case.wait(first, true)?;
    let mut held = case.hold(first)?;

    case.endpoints(&[])?;
    case.wait(first, false)?;
    goes_on(&mut held).context("without endpoints")?;
    case.endpoints(&all)?;
    case.wait(first, true)?;

    case.agent.config().remove("slices")?;
    case.agent.config().remove("service")?;
    case.wait(first, false)?;
    goes_on(&mut held).context("without the Service")?;

    // The next agent knows what left, and for how long.
    case.agent.wait_until("it is saved", |agent| {
        let saved = std::fs::read_to_string(agent.run_dir().join("departed.snapshot"));
        Ok(saved.is_ok_and(|text| text.contains(&at(Net::V4, 1).to_string())))
    })?;
    case.agent.kill()?;
    case.start()?;
    case.wait(first, false)?;
    goes_on(&mut held).context("after a restart")?;

    case.headless("")?;
    case.endpoints(&all)?;
    case.wait(first, true)?;
    goes_on(&mut held).context("all is back")
}

/// What a person does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Narrows {
    /// A Sidecar without the Service.
    Sidecar,
    /// A Service that other namespaces alone see.
    ExportTo,
}

#[rstest]
fn what_a_person_takes_back_ends_at_once(
    #[values(Narrows::Sidecar, Narrows::ExportTo)] narrows: Narrows,
    #[values(Some(Endpoint::Ready), Some(Endpoint::Unready), None)] how: Option<Endpoint>,
    #[values(Source::Directory, Source::Server)] source: Source,
) -> Result<()> {
    if is_left_out(source, how == Some(Endpoint::Ready)) {
        return Ok(());
    }
    let long = Duration::from_mins(10);
    let mut case = Case::new((Net::V4, source), long)?;
    let first = case.to(1, PORT);
    case.wait(first, true)?;
    let mut held = case.hold(first)?;
    // No rule changes where the endpoint had none any more.
    let left: Vec<_> = how.map(|how| (1, how)).into_iter().collect();
    case.endpoints(&left)?;
    case.wait(first, how == Some(Endpoint::Ready))?;
    goes_on(&mut held)?;

    match narrows {
        Narrows::Sidecar => case.agent.config().write(
            "sidecar",
            &format!(
                "apiVersion: networking.istio.io/v1\nkind: Sidecar\n\
                 metadata: {{name: narrow, namespace: {NAMESPACE}}}\n\
                 spec: {{egress: [{{hosts: [\"istio-system/*\"]}}]}}\n"
            ),
        )?,
        Narrows::ExportTo => case.headless("networking.istio.io/exportTo: elsewhere")?,
    }
    ends_within(&mut held, SOON)?;
    case.wait(first, false)
}

#[rstest]
fn what_an_entry_allowed_ends_with_it(
    #[values(PORT, UDP)] port: u16,
    #[values(Source::Directory, Source::Server)] source: Source,
) -> Result<()> {
    if is_left_out(source, port == PORT) {
        return Ok(());
    }
    let long = Duration::from_mins(10);
    let mut case = Case::new((Net::V4, source), long)?;
    let address = [format!("{}/32", at(Net::V4, 3))];
    let ports = [(PORT, "TCP"), (UDP, "UDP")];
    case.agent.config().service_entry("db-entry", &address, &ports)?;
    let third = case.to(3, port);
    case.wait(third, true)?;
    let mut held = case.hold(third)?;
    let elsewhere = ["203.0.113.99/32".to_owned()];
    case.agent.config().service_entry("db-entry", &elsewhere, &ports)?;
    ends_within(&mut held, SOON)?;
    case.agent.config().service_entry("db-entry", &address, &ports)?;
    case.wait(third, true)?;
    held = case.hold(third)?;
    case.agent.config().remove("db-entry")?;
    ends_within(&mut held, SOON)?;
    Ok(())
}

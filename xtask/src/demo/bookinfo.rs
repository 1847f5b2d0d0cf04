//! Bookinfo on hosts of a place: its programs, and the manifests that a cluster would hold.

use std::{
    fmt::Write as _,
    path::Path,
    process::{Child, Command, Stdio},
};

use anyhow::Context as _;

use crate::{
    command::{cargo, show, target_dir},
    place::{Place, address},
};

pub(super) const PORT: u16 = 9_080;
/// Where reviews are asked for. No host has this address: only the proxy knows where it leads.
pub(super) const REVIEWS: u8 = 90;
pub(super) const PRODUCTPAGE: u8 = 10;
const DETAILS: u8 = 100;
const RATINGS: u8 = 101;
/// The versions of reviews, and the colour of their stars, where they have any.
pub(super) const VERSIONS: [(&str, u8, &str); 3] =
    [("v1", 102, ""), ("v2", 103, "black"), ("v3", 104, "red")];

/// A program of Bookinfo; it ends with this.
#[derive(Debug)]
pub(super) struct Program(Child);

impl Program {
    fn start(
        place: &Place,
        host: &str,
        (service, set): (&str, &[(&str, String)]),
    ) -> anyhow::Result<Self> {
        let mut command: Command = place.run(host, target_dir().join("debug/bookinfo"));
        command.arg(service).envs(set.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Ok(Self(command.spawn().context("bookinfo could not be started")?))
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// All of them, with the versions of reviews by their order.
#[derive(Debug)]
pub(super) struct Bookinfo {
    reviews: Vec<Program>,
    _others: Vec<Program>,
}

impl Bookinfo {
    /// Builds the programs, and starts each on a host of its own.
    pub(super) fn start(place: &mut Place) -> anyhow::Result<Self> {
        show(cargo().args(["build", "--quiet", "--package", "bookinfo"]))?;
        let at = |number: u8| address(number).to_string();
        let mut start = |host: &str, number: u8, what: (&str, &[(&str, String)])| {
            place.add_host(host, &[number])?;
            Program::start(place, host, what)
        };
        let page = [("REVIEWS_HOSTNAME", at(REVIEWS)), ("DETAILS_HOSTNAME", at(DETAILS))];
        let others = vec![
            start("productpage", PRODUCTPAGE, ("productpage", &page))?,
            start("details", DETAILS, ("details", &[]))?,
            start("ratings", RATINGS, ("ratings", &[]))?,
        ];
        let mut reviews = Vec::new();
        for (version, number, color) in VERSIONS {
            let set = [
                ("SERVICE_VERSION", version.to_owned()),
                ("ENABLE_RATINGS", (!color.is_empty()).to_string()),
                ("STAR_COLOR", color.to_owned()),
                ("RATINGS_HOSTNAME", at(RATINGS)),
            ];
            reviews.push(start(&format!("reviews-{version}"), number, ("reviews", &set))?);
        }
        Ok(Self { reviews, _others: others })
    }

    /// From here on the last version of reviews knows no review, and answers 404.
    pub(super) fn break_one(&mut self, place: &Place) -> anyhow::Result<()> {
        drop(self.reviews.pop());
        self.reviews.push(Program::start(place, "reviews-v3", ("ratings", &[]))?);
        Ok(())
    }
}

/// The pod of productpage, and the Services that it asks.
pub(super) fn manifests(netns: &Path) -> String {
    let page = super::manifests::pod(
        "bookinfo",
        "istio-injection: enabled",
        "productpage",
        address(PRODUCTPAGE),
        netns,
    );
    let mut text = format!(
        "{page}---\n{}---\n{}",
        service("reviews", REVIEWS, &VERSIONS.map(|(_, number, _)| number)),
        service("details", DETAILS, &[DETAILS]),
    );
    for (version, number, _) in VERSIONS {
        let at = address(number);
        let _ = write!(
            text,
            "---\napiVersion: v1\nkind: Pod\nmetadata: {{name: reviews-{version}, namespace: bookinfo, \
             labels: {{app: reviews, version: {version}}}}}\nspec: {{nodeName: another}}\n\
             status: {{podIP: {at}, podIPs: [{{ip: {at}}}]}}\n"
        );
    }
    text
}

fn service(name: &str, number: u8, endpoints: &[u8]) -> String {
    let at = address(number);
    let endpoints = endpoints.iter().map(|one| format!("{{addresses: [{}]}}", address(*one)));
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: bookinfo}}\n\
         spec:\n  clusterIP: {at}\n  clusterIPs: [{at}]\n  selector: {{app: {name}}}\n  \
         ports: [{{name: http, port: {PORT}}}]\n\
         ---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n\
         metadata: {{name: {name}-1, namespace: bookinfo, \
         labels: {{kubernetes.io/service-name: {name}}}}}\naddressType: IPv4\n\
         endpoints: [{}]\nports: [{{name: http, port: {PORT}}}]\n",
        endpoints.collect::<Vec<_>>().join(", ")
    )
}

/// The versions by their labels.
pub(super) const SUBSETS: &str = "\
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: reviews, namespace: bookinfo}
spec:
  host: reviews
  subsets:
  - {name: v1, labels: {version: v1}}
  - {name: v2, labels: {version: v2}}
  - {name: v3, labels: {version: v3}}
";

/// The routes for reviews.
pub(super) fn routes(http: &str) -> String {
    format!(
        "\
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: reviews, namespace: bookinfo}}
spec:
  hosts: [reviews]
  http:
{http}"
    )
}

/// Shares of v1 and v2, in per cent.
pub(super) fn split(one: u8, other: u8) -> String {
    format!(
        "  - route:
    - {{destination: {{host: reviews, subset: v1}}, weight: {one}}}
    - {{destination: {{host: reviews, subset: v2}}, weight: {other}}}
"
    )
}

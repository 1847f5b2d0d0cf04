//! `sekisho flows`.

use std::fmt::Write as _;

use super::{
    output::{Paint, Tone, bytes, duration},
    print_and_go_on,
};
use crate::{
    admin::client::{Client, Line},
    args::{FlowsArgs, Format, exit},
    observe::flows::FlowRecord,
};

/// Widths of the columns before the last: they cannot follow what is not there yet.
const WIDTHS: [usize; 7] = [18, 24, 7, 16, 6, 24, 7];
const HEADING: [&str; 8] =
    ["TIME (UTC)", "POD", "VERDICT", "REASON", "PROTO", "DESTINATION", "LAYER", "GENERATION, RULE"];

pub(super) async fn run(args: &FlowsArgs, paint: Paint) -> anyhow::Result<u8> {
    let format = args.ask.output.format;
    let path = format!("/flows?follow={}&denied={}", args.follow, args.denied);
    let table = format == Format::Table;
    let mut some = args.follow && table && print_and_go_on(&heading(paint));
    let take = |line: Line| {
        let heading = if some || !table { String::new() } else { heading(paint) };
        some = true;
        print_and_go_on(&(heading + &text(&line, format, paint)))
    };
    Client::new(&args.ask.run_dir).lines(&path, take).await?;
    if !some && table {
        print_and_go_on("no flows\n");
    }
    Ok(exit::OK)
}

fn heading(paint: Paint) -> String {
    paint.word(Tone::Strong, columns(&HEADING.map(str::to_owned)).trim_end()) + "\n"
}

fn text(line: &Line, format: Format, paint: Paint) -> String {
    match (format, line) {
        (Format::Json, _) => serde_json::to_string(line).unwrap_or_default() + "\n",
        (Format::Yaml, _) => {
            format!("---\n{}", serde_saphyr::to_string(line).unwrap_or_default())
        }
        (Format::Table, Line::Missed { missed }) => {
            let missed = format!("{missed} flows came faster than they could be shown");
            paint.word(Tone::Doubtful, &missed) + "\n"
        }
        (Format::Table, Line::Flow(flow)) => row(flow, paint),
    }
}

fn row(flow: &FlowRecord, paint: Paint) -> String {
    let destination = match flow.port {
        0 => flow.dst.to_string(),
        port => std::net::SocketAddr::new(flow.dst, port).to_string(),
    };
    let line = columns(&[
        flow.time.strftime("%m-%d %H:%M:%S%.3f").to_string(),
        flow.pod.as_deref().map_or_else(|| format!("netns {}", flow.netns), str::to_owned),
        flow.verdict.to_string(),
        flow.reason.to_string(),
        flow.protocol.to_string(),
        destination,
        flow.layer.to_string(),
        detail(flow),
    ]);
    let line = line.trim_end();
    let tone = match flow.reason.as_ref() {
        "would-deny" => Some(Tone::Doubtful),
        _ if flow.is_denied() => Some(Tone::Bad),
        _ => None,
    };
    tone.map_or_else(|| line.to_owned(), |tone| paint.word(tone, line)) + "\n"
}

fn detail(flow: &FlowRecord) -> String {
    let mut detail = flow.generation.to_string();
    if let Some(rule) = &flow.rule {
        let _ = write!(detail, ", {rule}");
    }
    if let Some(carried) = flow.carried {
        let (sent, received) = (bytes(carried.bytes_sent), bytes(carried.bytes_received));
        let open = duration(carried.duration_us);
        let _ = write!(detail, "; closed after {open}, {sent} out, {received} in");
        if carried.rtt_us > 0 {
            let _ = write!(detail, ", rtt {}", duration(carried.rtt_us.into()));
        }
    }
    detail
}

fn columns(cells: &[String; 8]) -> String {
    let mut line = String::new();
    for (cell, width) in cells.iter().zip(WIDTHS) {
        let _ = write!(line, "{cell:width$}  ");
    }
    line + &cells[7]
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use agent_abi::{Reason, Verdict};

    use super::*;
    use crate::observe::flows::{Carried, test_record};

    fn lines() -> [Line; 3] {
        let mut close = test_record(443, Verdict::Direct, Reason::Rule);
        close.event = "close".into();
        close.rule = Some("ServiceEntry shop/db spec.ports[0]".into());
        close.carried =
            Some(Carried { bytes_sent: 2_048, bytes_received: 10, duration_us: 1_500, rtt_us: 90 });
        let denied = test_record(3_306, Verdict::Deny, Reason::NoRule);
        [Line::Flow(Arc::new(denied)), Line::Flow(Arc::new(close)), Line::Missed { missed: 3 }]
    }

    #[test]
    fn a_table_of_flows() {
        let paint = Paint::new(false);
        let table: String = lines().iter().map(|line| text(line, Format::Table, paint)).collect();
        let table = heading(paint) + &table;
        assert_eq!(
            table,
            concat!(
                "TIME (UTC)          POD                       VERDICT  REASON            PROTO   ",
                "DESTINATION               LAYER    GENERATION, RULE\n",
                "01-01 00:00:00.000  shop/web-0                deny     no-rule           tcp     ",
                "203.0.113.9:3306          connect  3\n",
                "01-01 00:00:00.000  shop/web-0                direct   rule              tcp     ",
                "203.0.113.9:443           connect  3, ServiceEntry shop/db spec.ports[0]; ",
                "closed after 1.5 ms, 2.0 KiB out, 10 B in, rtt 90 us\n",
                "3 flows came faster than they could be shown\n",
            )
        );
    }

    #[test]
    fn json_is_one_object_a_line_and_reads_back() {
        let paint = Paint::new(true);
        let json: String = lines().iter().map(|line| text(line, Format::Json, paint)).collect();
        let back: Vec<Line> =
            json.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(back, lines());
    }

    #[test]
    fn yaml_is_one_document_each() {
        let paint = Paint::new(true);
        let yaml: String = lines().iter().map(|line| text(line, Format::Yaml, paint)).collect();
        let back: Vec<Line> = serde_saphyr::from_multiple(&yaml).unwrap();
        assert_eq!(back, lines());
    }
}

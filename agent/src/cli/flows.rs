//! `sekisho flows`.

use std::fmt::Write as _;

use agent_abi::Verdict;

use super::{
    output::{Paint, Tone, bytes, duration, fit, in_columns},
    print_and_go_on,
};
use crate::{
    admin::client::{Client, Line},
    args::{FlowsArgs, Format, exit},
    observe::{flow_filter::FlowFilter, flow_record::End, flow_view::FlowView},
};

/// Widths of the columns before the last: they cannot follow what is not there yet.
const WIDTHS: [usize; 9] = [18, 24, 8, 7, 16, 6, 22, 24, 7];
/// The width of the last where a terminal bounds it.
const LAST: usize = 60;
const HEADING: [&str; 10] = [
    "TIME (UTC)",
    "POD",
    "CONN",
    "VERDICT",
    "REASON",
    "PROTO",
    "SOURCE",
    "DESTINATION",
    "LAYER",
    "GENERATION, RULE",
];

pub(super) async fn run(args: &FlowsArgs, paint: Paint) -> anyhow::Result<u8> {
    let format = args.ask.output.format;
    let path = format!("/flows?{}", FlowFilter::from(args).query());
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
    columns(&HEADING.map(str::to_owned), Some(Tone::Strong), paint)
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

fn row(flow: &FlowView, paint: Paint) -> String {
    let source = match (flow.src, flow.src_port) {
        (Some(address), port) => End(address, port).to_string(),
        (None, Some(port)) => format!("port {port}"),
        (None, None) => String::new(),
    };
    let tone = match flow.verdict {
        // An audit let it out.
        Verdict::Direct | Verdict::Proxy if flow.denied => Some(Tone::Doubtful),
        _ => flow.denied.then_some(Tone::Bad),
    };
    let cells = [
        flow.time.strftime("%m-%d %H:%M:%S%.3f").to_string(),
        flow.pod.clone().unwrap_or_else(|| format!("netns {}", flow.netns)),
        flow.connection.map(|connection| connection.to_string()).unwrap_or_default(),
        flow.verdict.name().to_owned(),
        flow.reason.to_string(),
        flow.protocol.clone(),
        source,
        End(flow.dst, flow.dst_port).to_string(),
        flow.layer.to_string(),
        detail(flow),
    ];
    columns(&cells, tone, paint)
}

fn detail(flow: &FlowView) -> String {
    let mut detail = flow.generation.to_string();
    if let Some(rule) = &flow.rule {
        let _ = write!(detail, ", {rule}");
    }
    if let Some(service) = &flow.service {
        let _ = write!(detail, " ({service})");
    }
    if let Some(upstream) = flow.upstream {
        let _ = write!(detail, " by {upstream}");
    }
    if let Some(name) = &flow.server_name {
        let _ = write!(detail, " for {name}");
    }
    if let Some(peer) = &flow.peer {
        let _ = write!(detail, " with {peer}");
    }
    if let (Some(request), Some(carried)) = (&flow.request, flow.carried) {
        let _ = write!(detail, "; {request} after {}", duration(carried.duration_us));
    } else if let Some(carried) = flow.carried {
        let (sent, received) = (bytes(carried.bytes_sent), bytes(carried.bytes_received));
        let open = duration(carried.duration_us);
        let _ = write!(detail, "; closed after {open}, {sent} out, {received} in");
        if carried.rtt_us > 0 {
            let _ = write!(detail, ", rtt {}", duration(carried.rtt_us.into()));
        }
    }
    if let Some(error) = &flow.error {
        let _ = write!(detail, "; {error}");
    }
    detail
}

fn columns(cells: &[String; HEADING.len()], tone: Option<Tone>, paint: Paint) -> String {
    let painted = |line: &str| tone.map_or_else(|| line.to_owned(), |tone| paint.word(tone, line));
    let Some(width) = paint.width else {
        let mut line = String::new();
        for (cell, width) in cells.iter().zip(WIDTHS) {
            let _ = write!(line, "{cell:width$}  ");
        }
        line += &cells[WIDTHS.len()];
        return painted(line.trim_end()) + "\n";
    };
    let wanted: Vec<usize> = WIDTHS.into_iter().chain([LAST]).collect();
    let Some(widths) = fit(&wanted, Some(width)) else {
        let said = cells.iter().map(String::as_str).filter(|cell| !cell.is_empty());
        return paint.beside("", &painted(&said.collect::<Vec<_>>().join("  ")));
    };
    let lines = in_columns(cells.iter().map(String::as_str), &widths, |_, part| painted(part));
    lines.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use agent_abi::Reason;
    use agent_model::egress::RuleSource;

    use super::*;
    use crate::observe::flow_record::{Carried, test_record};

    fn lines() -> [Line; 3] {
        let mut close = test_record(443, Verdict::Direct, Reason::Rule);
        close.rule = Some(Arc::new(RuleSource {
            kind: "ServiceEntry",
            namespace: "shop".into(),
            name: "db".into(),
            field: "spec.ports[0]".into(),
            host: Some("db.example".to_owned()),
        }));
        close.source.port = Some(40_000);
        close.carried =
            Some(Carried { bytes_sent: 2_048, bytes_received: 10, duration_us: 1_500, rtt_us: 90 });
        let denied = test_record(3_306, Verdict::Deny, Reason::NoRule);
        let line = |record| Line::Flow(Box::new(FlowView::from(&record)));
        [line(denied), line(close), Line::Missed { missed: 3 }]
    }

    #[test]
    fn a_table_of_flows() {
        let paint = Paint::new(false);
        let table: String = lines().iter().map(|line| text(line, Format::Table, paint)).collect();
        let table = heading(paint) + &table;
        assert_eq!(
            table,
            concat!(
                "TIME (UTC)          POD                       CONN      VERDICT  REASON     ",
                "       PROTO   SOURCE                  DESTINATION               LAYER",
                "    GENERATION, RULE\n",
                "01-01 00:00:00.000  shop/web-0                77        deny     no-rule    ",
                "       tcp     192.0.2.7               203.0.113.9:3306          conne",
                "ct  3\n",
                "01-01 00:00:00.000  shop/web-0                77        direct   rule       ",
                "       tcp     192.0.2.7:40000         203.0.113.9:443           conne",
                "ct  3, ServiceEntry shop/db spec.ports[0] (db.example); closed after 1.5 ms, 2.0 KiB out, 10 B in, rtt 90 us\n",
                "3 flows came faster than they could be shown\n",
            )
        );
    }

    #[test]
    fn a_table_of_flows_fits_the_terminal() {
        for width in 24..250 {
            let paint = Paint::new(false).within(width);
            let table: String =
                lines().iter().take(2).map(|line| text(line, Format::Table, paint)).collect();
            let table = heading(paint) + &table;
            let widest = table.lines().map(|line| line.chars().count()).max();
            assert!(widest <= Some(width), "{width}: {table}");
        }
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

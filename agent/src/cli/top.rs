//! `sekisho top`: which pod asks which service how often, how that goes and how long it takes.

use std::{
    cmp::Reverse,
    collections::HashMap,
    io::IsTerminal as _,
    time::{Duration, Instant},
};

use ratatui::{
    Frame,
    crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers},
    layout::{Constraint, Layout},
    style::{Color, Modifier, Style},
    text::Line,
    widgets::{Row, Table as Rows},
};

use super::{
    Answer,
    output::{Paint, Table, Tone, duration, encode},
};
use crate::{
    admin::client::Client,
    args::{Format, TopArgs, exit},
    observe::top::{Busy, TopRow},
};

const HEADING: [&str; 7] = ["SERVICE", "POD", "REQUESTS", "ERRORS", "ERROR RATE", "P50", "P99"];
/// How long a key may wait to be looked at.
const KEYS: Duration = Duration::from_millis(100);

/// The view where there is a terminal to show it on; one table elsewhere.
pub(super) async fn run(args: &TopArgs, paint: Paint) -> anyhow::Result<Answer> {
    let client = Client::new(&args.ask.run_dir);
    let format = args.ask.output.format;
    if args.once || format != Format::Table || !std::io::stdout().is_terminal() {
        let rows = sorted(client.ask("/top").await?);
        let text = match encode(format, &rows)? {
            Some(text) => text,
            None => once(&rows, paint),
        };
        return Ok(Answer { text, code: exit::OK });
    }
    // Asked before the terminal changes: an error is then shown as every other.
    let first = client.ask("/top").await?;
    let mut terminal = ratatui::try_init()?;
    let outcome = follow(&client, first, args.interval, &mut terminal).await;
    ratatui::restore();
    outcome.map(|()| Answer { text: String::new(), code: exit::OK })
}

/// Everything since the agent started.
fn once(rows: &[TopRow], paint: Paint) -> String {
    if rows.is_empty() {
        return "no requests yet\n".to_owned();
    }
    let mut table = Table::new(&HEADING);
    for row in rows {
        let cells = cells(row, None);
        let toned = (row.busy.errors > 0).then_some((3, Tone::Bad));
        table.row(&cells.each_ref().map(String::as_str), toned);
    }
    table.text("", paint)
}

/// Those with the most requests first.
fn sorted(mut rows: Vec<TopRow>) -> Vec<TopRow> {
    rows.sort_by_cached_key(|row| {
        (Reverse(row.busy.requests), row.service.clone(), row.namespace.clone(), row.pod.clone())
    });
    rows
}

fn cells(row: &TopRow, over: Option<Duration>) -> [String; HEADING.len()] {
    let TopRow { namespace, pod, service, busy } = row;
    let slash = if namespace.is_empty() { "" } else { "/" };
    let time = |percent| busy.percentile(percent).map(duration).unwrap_or_default();
    #[expect(clippy::cast_precision_loss, reason = "shown with one digit behind the point")]
    let (requests, errors) = (busy.requests as f64, busy.errors as f64);
    let count = |whole: u64, count: f64| match over {
        None => whole.to_string(),
        Some(over) => format!("{:.1}/s", count / over.as_secs_f64()),
    };
    [
        service.clone(),
        format!("{namespace}{slash}{pod}"),
        count(busy.requests, requests),
        count(busy.errors, errors),
        format!("{:.1} %", 100.0 * errors / requests.max(1.0)),
        time(50),
        time(99),
    ]
}

/// What came since the last look.
struct Window {
    before: HashMap<[String; 3], Busy>,
    rows: Vec<TopRow>,
    looked: Instant,
    over: Duration,
}

impl Window {
    fn new(first: Vec<TopRow>) -> Self {
        let before = first.into_iter().map(|row| (key(&row), row.busy)).collect();
        Self { before, rows: Vec::new(), looked: Instant::now(), over: Duration::from_secs(1) }
    }

    fn take(&mut self, now: Vec<TopRow>, over: Duration) {
        let mut before = HashMap::new();
        let mut rows = Vec::new();
        for row in now {
            let key = key(&row);
            let earlier = self.before.get(&key).cloned().unwrap_or_default();
            let busy = row.busy.since(&earlier);
            before.insert(key, row.busy.clone());
            if busy.requests > 0 {
                rows.push(TopRow { busy, ..row });
            }
        }
        (self.before, self.rows, self.over) = (before, sorted(rows), over);
    }
}

fn key(row: &TopRow) -> [String; 3] {
    [row.namespace.clone(), row.pod.clone(), row.service.clone()]
}

async fn follow(
    client: &Client,
    first: Vec<TopRow>,
    interval: Duration,
    terminal: &mut ratatui::DefaultTerminal,
) -> anyhow::Result<()> {
    let mut window = Window::new(first);
    loop {
        terminal.draw(|frame| draw(frame, &window))?;
        while window.looked.elapsed() < interval {
            // Nothing else runs here meanwhile.
            if event::poll(KEYS.min(interval))? && ends(&event::read()?) {
                return Ok(());
            }
        }
        let now = client.ask("/top").await?;
        let over = window.looked.elapsed();
        window.looked = Instant::now();
        window.take(now, over);
    }
}

fn ends(event: &Event) -> bool {
    let Event::Key(key) = event else { return false };
    let is_break = key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL);
    let is_end = matches!(key.code, KeyCode::Char('q') | KeyCode::Esc);
    key.kind == KeyEventKind::Press && (is_break || is_end)
}

fn draw(frame: &mut Frame<'_>, window: &Window) {
    let [head, body] =
        Layout::vertical([Constraint::Length(1), Constraint::Min(0)]).areas(frame.area());
    let count: u64 = window.rows.iter().map(|row| row.busy.requests).sum();
    #[expect(clippy::cast_precision_loss, reason = "shown with one digit behind the point")]
    let rate = count as f64 / window.over.as_secs_f64();
    frame.render_widget(Line::from(format!("{rate:.1} requests a second; q ends")), head);
    let rows = window.rows.iter().map(|row| {
        let colour = if row.busy.errors > 0 { Color::Red } else { Color::Reset };
        Row::new(cells(row, Some(window.over))).style(Style::new().fg(colour))
    });
    let bold = Style::new().add_modifier(Modifier::BOLD);
    let widths = [
        Constraint::Fill(3),
        Constraint::Fill(2),
        Constraint::Length(11),
        Constraint::Length(9),
        Constraint::Length(10),
        Constraint::Length(9),
        Constraint::Length(9),
    ];
    frame.render_widget(Rows::new(rows, widths).header(Row::new(HEADING).style(bold)), body);
}

#[cfg(test)]
mod tests {
    use ratatui::{Terminal, backend::TestBackend};

    use super::*;
    use crate::observe::{flow_record::Carried, flow_request::FlowRequest};

    fn row(pod: &str, statuses: &[u16]) -> TopRow {
        let mut busy = Busy::default();
        for status in statuses {
            let request = FlowRequest { status: *status, ..FlowRequest::default() };
            busy.take(&request, &Carried { duration_us: 2_000, ..Carried::default() });
        }
        let service = "reviews.shop.svc.cluster.local".to_owned();
        TopRow { namespace: "shop".into(), pod: pod.into(), service, busy }
    }

    #[test]
    fn a_table_of_all_that_was() {
        let rows = sorted(vec![row("web-1", &[200]), row("web-0", &[200, 503])]);
        assert_eq!(
            once(&rows, Paint::new(false)),
            concat!(
                "SERVICE                         POD         REQUESTS  ERRORS  ERROR RATE  P50     P99\n",
                "reviews.shop.svc.cluster.local  shop/web-0  2         1       50.0 %      2.0 ms  2.0 ms\n",
                "reviews.shop.svc.cluster.local  shop/web-1  1         0       0.0 %       2.0 ms  2.0 ms\n",
            )
        );
        assert_eq!(once(&[], Paint::new(false)), "no requests yet\n");
    }

    #[test]
    fn the_view_shows_what_came_since_the_last_look() {
        let mut window = Window::new(vec![row("web-0", &[503, 200]), row("web-1", &[200])]);
        let now = vec![row("web-0", &[503, 200, 200, 200, 200]), row("web-1", &[200])];
        window.take(now, Duration::from_secs(2));
        let mut terminal = Terminal::new(TestBackend::new(90, 4)).unwrap();
        terminal.draw(|frame| draw(frame, &window)).unwrap();
        let shown = terminal.backend().to_string();
        assert!(shown.contains("1.5 requests a second"), "{shown}");
        assert!(shown.contains("shop/web-0") && shown.contains("1.5/s"), "{shown}");
        assert!(shown.contains("0.0/s") && shown.contains("0.0 %"), "{shown}");
        assert!(!shown.contains("web-1"), "nothing came of it: {shown}");
    }
}

//! All studies as one HTML page that needs nothing else: no script, no font, no picture from elsewhere.

use std::fmt::Write;

use hayase::DeviceSpec;

use super::machine::Machine;
use super::report::VERSION;
use super::study::{Cell, Study, Table};

const STYLE: &str = "\
:root { --ink: #1f2933; --soft: #5b6875; --line: #e1e5ea; --accent: #0072b2; --paper: #fff; --ground: #f4f6f8; }
* { box-sizing: border-box; }
body { margin: 0; background: var(--ground); color: var(--ink); font: 16px/1.55 system-ui, 'Segoe UI', Roboto, sans-serif; }
header { background: linear-gradient(120deg, #0b3954, #0072b2); color: #fff; padding: 2.6rem 1.5rem 2.2rem; }
header > div, main, nav { max-width: 62rem; margin: 0 auto; }
h1 { margin: 0; font-size: 2.1rem; letter-spacing: -0.01em; }
header p { margin: .5rem 0 0; opacity: .9; max-width: 46rem; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .25rem 1.2rem; margin: 1.4rem 0 0; font-size: .92rem; }
dt { opacity: .7; } dd { margin: 0; overflow-wrap: anywhere; }
.warning { background: #fff4d6; color: #5c4400; border-left: 4px solid #e69f00; padding: .7rem 1rem; border-radius: 6px; }
nav { padding: 1.1rem 1.5rem 0; display: flex; flex-wrap: wrap; gap: .4rem; }
nav a { background: var(--paper); border: 1px solid var(--line); border-radius: 999px; padding: .25rem .8rem; font-size: .88rem;
  color: var(--ink); text-decoration: none; }
nav a:hover { border-color: var(--accent); color: var(--accent); }
main { padding: 1.1rem 1.5rem 3rem; }
section { background: var(--paper); border: 1px solid var(--line); border-radius: 12px; padding: 1.5rem 1.7rem; margin: 1.2rem 0; }
h2 { margin: 0 0 .5rem; font-size: 1.35rem; }
section p { margin: .4rem 0; max-width: 52rem; } .reading { color: var(--soft); }
.plot { margin: 1rem 0 .4rem; } .plot svg { width: 100%; height: auto; display: block; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: .88rem; font-variant-numeric: tabular-nums; }
th { text-align: right; font-weight: 600; color: var(--soft); border-bottom: 2px solid var(--line); padding: .35rem .7rem; }
td { text-align: right; border-bottom: 1px solid var(--line); padding: .28rem .7rem; white-space: nowrap; }
th.text, td.text { text-align: left; white-space: normal; } tbody tr:hover { background: #f0f6fa; }
details { margin-top: .8rem; font-size: .88rem; color: var(--soft); } summary { cursor: pointer; }
code { font: .86em ui-monospace, 'SF Mono', Menlo, Consolas, monospace; background: #eef1f4; padding: .12em .4em; border-radius: 4px; }
footer { text-align: center; color: var(--soft); font-size: .85rem; padding-bottom: 2rem; }
@media print { section { break-inside: avoid; border: 0; } nav { display: none; } }
";

/// What the page says about a study.
#[derive(Debug)]
pub(super) struct Section {
    pub(super) name: &'static str,
    pub(super) title: &'static str,
    pub(super) shows: &'static str,
    pub(super) reading: &'static str,
    pub(super) command: String,
    pub(super) svg: String,
}

/// The page.
#[derive(Debug)]
pub(super) struct Page {
    /// Where everything was measured, for a sentence.
    place: String,
    sections: Vec<(Section, Study)>,
}

impl Page {
    pub(super) fn new(device: &DeviceSpec) -> Page {
        let place = match device {
            DeviceSpec::Wire(_) => {
                "on the in-memory wire, both ends on one thread unless said otherwise".to_owned()
            }
            _ => format!("on {device}, the servers elsewhere"),
        };
        Page { place, sections: Vec::new() }
    }

    pub(super) fn add(&mut self, section: Section, study: Study) {
        self.sections.push((section, study));
    }

    /// The whole page. `left_out` names studies that could not be made, and why.
    pub(super) fn html(&self, is_quick: bool, left_out: &[(&str, String)]) -> String {
        let machine = self.sections.first().map_or_else(Machine::here, |(_, study)| study.machine().clone());
        let mut html =
            String::from("<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n");
        html += "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n";
        html += &format!(
            "<title>Hayase {VERSION}: evaluation</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n"
        );
        html += &header(&machine, &self.place);
        html += "<nav>";
        for (section, _) in &self.sections {
            html += &format!("<a href=\"#{}\">{}</a>", section.name, escape(section.title));
        }
        html += "</nav>\n<main>\n";
        for warning in warnings(&machine, is_quick, left_out) {
            html += &format!("<p class=\"warning\">{}</p>\n", escape(&warning));
        }
        for (section, study) in &self.sections {
            html += &section.html(study);
        }
        html += "</main>\n<footer>Made by <code>hayase bench report</code>. The figures are in the JSON files beside this \
                 page, the method in docs/BENCHMARKS.md.</footer>\n</body>\n</html>\n";
        html
    }
}

fn header(machine: &Machine, place: &str) -> String {
    let mut html = format!(
        "<header><div><h1>Hayase {VERSION}: the evaluation</h1>\n<p>What an async TCP/IP stack in user space does and \
         costs, measured through its public API {}.</p>\n<dl>",
        escape(place)
    );
    let memory = format!("{} GiB", machine.memory_bytes >> 30);
    let facts = [
        ("processor", format!("{}, {} cores", machine.cpu, machine.cores)),
        ("memory", memory),
        ("system", machine.kernel.clone()),
        ("build", format!("{}, profile {}", machine.rustc, machine.profile)),
        ("commit", machine.commit.unwrap_or("unknown").to_owned()),
        ("command", format!("hayase {}", machine.arguments.join(" "))),
    ];
    for (name, value) in facts {
        html += &format!("<dt>{name}</dt><dd>{}</dd>", escape(&value));
    }
    html + "</dl></div></header>\n"
}

fn warnings(machine: &Machine, is_quick: bool, left_out: &[(&str, String)]) -> Vec<String> {
    let mut warnings = Vec::new();
    if !machine.is_optimised() {
        warnings.push("This is a build with debug assertions: its figures mean nothing.".to_owned());
    }
    if is_quick {
        warnings.push("A quick run: few points, once each and briefly. Its figures are rough.".to_owned());
    }
    warnings.extend(left_out.iter().map(|(name, reason)| format!("Without {name}: {reason}")));
    warnings
}

impl Section {
    fn html(&self, study: &Study) -> String {
        let Section { name, title, shows, reading, command, svg } = self;
        let mut html = format!("<section id=\"{name}\">\n<h2>{}</h2>\n", escape(title));
        html += &format!("<p>{}</p>\n<p class=\"reading\">{}</p>\n", escape(shows), escape(reading));
        html += &format!("<div class=\"plot\">{}</div>\n", scalable(svg));
        html += &table(&study.table);
        for failed in &study.failed {
            let text = failed.to_string();
            let text = text.strip_prefix('w').map_or(text.clone(), |rest| format!("W{rest}"));
            html += &format!("<p class=\"reading\">{}</p>\n", escape(&text));
        }
        html += &format!(
            "<details><summary>How it was measured</summary><p><code>{}</code></p><p>",
            escape(command)
        );
        for (index, (name, value)) in study.settings.0.iter().enumerate() {
            let separator = if index > 0 { " · " } else { "" };
            // Writing into a string does not fail.
            let _ = write!(html, "{separator}{name}: {}", escape(value));
        }
        html + "</p></details>\n</section>\n"
    }
}

/// A picture that is as wide as the page: its own size becomes that of its view.
fn scalable(svg: &str) -> String {
    match svg.split_once("<svg width=\"").and_then(|(_, rest)| rest.split_once("\" height=\"")) {
        Some((_, rest)) if svg.contains("viewBox") => {
            let after = rest.split_once('"').map_or("", |(_, after)| after);
            format!("<svg{after}")
        }
        _ => svg.to_owned(),
    }
}

fn table(table: &Table) -> String {
    let is_text = |index: usize| matches!(table.rows.first().map(|row| &row[index]), Some(Cell::Text(_)));
    let class = |index| if is_text(index) { " class=\"text\"" } else { "" };
    let mut html = String::from("<div class=\"scroll\"><table>\n<thead><tr>");
    for (index, column) in table.columns.iter().enumerate() {
        html += &format!("<th{}>{}</th>", class(index), escape(column.1));
    }
    html += "</tr></thead>\n<tbody>\n";
    for row in &table.rows {
        html += "<tr>";
        for (index, (cell, column)) in row.iter().zip(&table.columns).enumerate() {
            html += &format!("<td{}>{}</td>", class(index), escape(&Table::text(cell, *column)));
        }
        html += "</tr>\n";
    }
    html + "</tbody></table></div>\n"
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::study::{Column, Failed, Settings};

    #[test]
    fn a_page_has_every_study_and_needs_nothing_else() {
        let mut figures = Table::new(&[Column("set", "set", 0), Column("rate", "per second", 0)]);
        figures.push(vec!["a < b".into(), 12_345.6.into()]);
        let study = Study::new("churn", Settings::default().with("device", "wire"), figures, Vec::new());
        let failed = Failed { point: "9 at a time".into(), reason: "no port is left".into(), rounds: 0 };
        let study = study.without(vec![failed]);
        let section = Section {
            name: "churn",
            title: "Opened & closed",
            shows: "what",
            reading: "how",
            command: "hayase bench churn".into(),
            svg: "<svg width=\"960\" height=\"440\" viewBox=\"0 0 960 440\" xmlns=\"x\">\n</svg>".into(),
        };
        let mut page = Page::new(&DeviceSpec::Kernel);
        page.add(section, study);
        let html = page.html(true, &[("peers", "not built".into())]);
        for part in [
            "<h2>Opened &amp; closed</h2>",
            "<td class=\"text\">a &lt; b</td><td>12,346</td>",
            "<a href=\"#churn\">",
            "<code>hayase bench churn</code>",
            "device: wire",
            "<svg viewBox=\"0 0 960 440\"",
            "Without peers: not built",
            "measured through its public API on kernel, the servers elsewhere.",
            "Without 9 at a time: no port is left",
            "A quick run",
        ] {
            assert!(html.contains(part), "{part} is not in {html}");
        }
        let outside = ["<script", "src=", "href=\"http", "@import", "url("];
        assert!(outside.iter().all(|part| !html.contains(part)), "{html}");
    }
}

//! Clients that were not written for us: curl, wrk and socat.

use std::process::Command;

use hayase_tests::kernel::PATIENCE;
use hayase_tests::pattern::pattern;
use hayase_tests::process::feed;
use hayase_tests::rights::has_program;
use hayase_tests::site::PORT;
use hayase_tests::{Family, Process, Site, matrix};

fn url(site: &Site) -> String {
    format!("http://{}/", site.hayase(PORT))
}

/// How many requests wrk made in two seconds, without an error: one that takes long is none.
fn requests_of_wrk(site: &Site) -> u64 {
    let report = site.system("wrk", &["-t2", "-c64", "-d2s", "--timeout", "30s", &url(site)]);
    println!("{report}");
    assert!(report.contains("Requests/sec"), "{report}");
    assert!(!report.contains("Socket errors") && !report.contains("Non-2xx"), "{report}");
    let count = report.lines().find_map(|line| line.trim().split_once(" requests in "));
    count.and_then(|(count, _)| count.parse().ok()).unwrap_or(0)
}

matrix! {
    fn curl_fetches_a_page(site) {
        if !has_program("curl") {
            return;
        }
        let _server = site.serve("http", &[]);
        let url = url(site);
        let written = "\n%{http_code} %{num_connects}\n";
        let options = ["--silent", "--show-error", "--noproxy", "*", "--globoff", "--write-out", written];
        // The second transfer must find the connection of the first still open.
        let printed = site.system("curl", &[&options[..], &[&url, &url]].concat());
        let codes: Vec<_> = printed.lines().filter(|line| line.starts_with("200 ")).collect();
        assert_eq!(codes, ["200 1", "200 0"], "{printed}");
        let body = printed.lines().next().unwrap_or_default();
        assert!(!body.is_empty() && printed.matches(body).count() == 2, "{printed}");

        let head = site.system("curl", &[&options[..], &["--head", &url]].concat());
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    }

    fn wrk_sees_no_error(site) {
        if !has_program("wrk") {
            return;
        }
        let _server = site.serve("http", &[]);
        // How many it can make is a matter of the machine, too, once.
        assert!((0..2).any(|_| requests_of_wrk(site) > 1000), "hardly any request, twice");
    }

    fn socat_gets_its_echo(site) {
        if !has_program("socat") {
            return;
        }
        let _server = site.serve("echo", &[]);
        let protocol = if site.family == Family::V4 { "TCP4" } else { "TCP6" };
        let peer = format!("{protocol}:{}", site.hayase(PORT));
        let mut command = Command::new("socat");
        let mut socat = Process::spawn_in(&site.namespace, command.args(["-t10", "STDIO", &peer]));
        feed(socat.stdin(), &pattern(1 << 20));
        let exit = socat.wait(PATIENCE).success();
        assert!(exit.stdout == pattern(1 << 20), "{} bytes came back", exit.stdout.len());
    }
}

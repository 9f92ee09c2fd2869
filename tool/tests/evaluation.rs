//! The commands that repeat the evaluation: each with so little to do that it takes no time.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

fn hayase(line: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hayase"));
    command.args(line.split_whitespace()).stdin(Stdio::null()).env_remove("HAYASE_DEVICE");
    command.output().expect("the program was built for this test")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// What a command that must succeed printed.
fn success(line: &str) -> String {
    let output = hayase(line);
    assert!(output.status.success(), "{line}: {}\n{}", output.status, text(&output.stderr));
    text(&output.stdout)
}

fn json(line: &str) -> Value {
    serde_json::from_str(&success(line)).unwrap_or_else(|error| panic!("{line}: {error}"))
}

/// The words of a command that must fail with this exit code.
fn failure(line: &str, code: i32) -> String {
    let output = hayase(line);
    assert_eq!(output.status.code(), Some(code), "{line}: {}{}", text(&output.stdout), text(&output.stderr));
    text(&output.stderr)
}

/// A name that no other test has.
fn temporary(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("hayase-evaluation-{}-{name}", std::process::id()))
}

/// The result of a study that also draws: its object, and the picture.
fn study(line: &str, name: &str) -> (Value, String) {
    let file = temporary(name);
    let figures = json(&format!("{line} --json --svg {}", file.display()));
    let svg = fs::read_to_string(&file).unwrap();
    fs::remove_file(&file).unwrap();
    // Points, or bars before their background.
    let is_drawn = svg.contains("<circle") || svg.matches("<rect").count() > 1;
    assert!(svg.starts_with("<svg") && is_drawn, "{svg}");
    let machine = &figures["machine"];
    assert!(machine["cores"].as_u64() > Some(0) && machine["rustc"].as_str() > Some("rustc"), "{machine}");
    assert!(machine["kernel"].as_str().is_some_and(|kernel| kernel.starts_with("Linux ")), "{machine}");
    assert_eq!(machine["arguments"][0], "bench", "{machine}");
    (figures, svg)
}

/// A column of a study, as numbers.
fn column(figures: &Value, key: &str) -> Vec<f64> {
    let rows = figures["rows"].as_array().expect("a study has rows");
    rows.iter().map(|row| row[key].as_f64().unwrap_or_else(|| panic!("no {key} in {row}"))).collect()
}

#[test]
fn a_sweep_of_connections_has_a_row_for_each() {
    let line = "bench pingpong --sweep connections --values 1,4,16 --rounds 2 --duration 0.03";
    let (figures, svg) = study(line, "connections.svg");
    assert_eq!((&figures["command"], &figures["sweep"]), (&"pingpong".into(), &"connections".into()));
    assert_eq!(
        (&figures["settings"]["device"], &figures["settings"]["rounds"]),
        (&"wire".into(), &"2".into())
    );
    assert_eq!(column(&figures, "connections"), [1.0, 4.0, 16.0]);
    let percentiles = ["p50_us", "p90_us", "p99_us", "p99.9_us"].map(|key| column(&figures, key));
    for row in 0..3 {
        let times: Vec<_> = percentiles.iter().map(|column| column[row]).collect();
        assert!(times[0] > 0.0 && times.is_sorted(), "{figures}");
    }
    let rates = column(&figures, "round_trips_per_second");
    let each = column(&figures, "nanoseconds_per_round_trip");
    assert!(rates.iter().zip(each).all(|(rate, each)| (rate * each / 1e9 - 1.0).abs() < 1e-6), "{figures}");
    assert!(svg.contains("p99.9") && svg.contains("Time of a round trip against throughput"), "{svg}");
    let output = hayase(line);
    assert!(text(&output.stdout).starts_with("pingpong --sweep connections\n"), "{}", text(&output.stdout));
    assert!(text(&output.stderr).contains("pingpong 1/6: connections 1"), "{}", text(&output.stderr));
}

#[test]
fn a_sweep_of_cores_is_compared_with_a_straight_line() {
    let line = "bench pingpong --sweep cores --values 1,2 --connections 2 --duration 0.05";
    let (figures, svg) = study(line, "cores.svg");
    assert_eq!(column(&figures, "cores"), [1.0, 2.0]);
    let (shares, rates) = (column(&figures, "of_linear"), column(&figures, "round_trips_per_second"));
    assert!(
        (shares[0] - 1.0).abs() < 1e-9 && (shares[1] - rates[1] / rates[0] / 2.0).abs() < 1e-9,
        "{figures}"
    );
    assert!(svg.contains("linear"), "{svg}");
}

#[test]
fn a_sweep_of_rates_has_the_times_of_each() {
    let line = "bench pingpong --sweep rate --values 500,2000 --connections 4 --duration 1";
    let (figures, svg) = study(line, "rates.svg");
    assert_eq!((&figures["sweep"], &figures["settings"]["connections"]), (&"rate".into(), &"4".into()));
    assert_eq!(column(&figures, "due_per_second"), [500.0, 2000.0]);
    let rates = column(&figures, "round_trips_per_second");
    assert!(
        rates[0] <= 525.0 && rates[1] <= 2100.0 && column(&figures, "not_sent") == [0.0, 0.0],
        "{figures}"
    );
    let times = ["p50_us", "p99.9_us"].map(|key| column(&figures, key));
    assert!((0..2).all(|row| 0.0 < times[0][row] && times[0][row] <= times[1][row]), "{figures}");
    assert!(svg.contains("Time of a request from when it was due"), "{svg}");
}

/// What is measured once is drawn as well: times by how rare they are, and a rate as time goes by.
#[test]
fn a_single_run_shows_what_it_does_and_is_drawn() {
    let file = temporary("single.svg");
    for (line, title, step) in [
        (
            "bench pingpong --duration 0.1 --connections 3",
            "Times of round trips on wire, 3 connections",
            "pingpong 1/1: 3",
        ),
        ("bench pingpong --round-trips 2000 --cores 2", "Times of round trips on wire", "pingpong 1/1: 1"),
        (
            "bench pingpong --rate 3000 --duration 0.1",
            "3,000 due each second",
            "pingpong 1/1: 1 connections, 0.1 s",
        ),
        (
            "bench bulk --duration 0.2",
            "Bulk on wire, 1 connections, as time goes by",
            "bulk 1/1: 1 connections, 0.2 s",
        ),
        (
            "bench bulk --bytes 3000000 --cores 2 --owned",
            "as time goes by",
            "bulk 1/1: 1 connections, 3,000,000 bytes",
        ),
    ] {
        let output = hayase(&format!("{line} --svg {}", file.display()));
        assert!(output.status.success(), "{line}: {}", text(&output.stderr));
        assert!(text(&output.stderr).contains(step), "{line}: {}", text(&output.stderr));
        let svg = fs::read_to_string(&file).unwrap();
        assert!(svg.starts_with("<svg") && svg.contains(title) && svg.contains("polyline"), "{line}: {svg}");
        fs::remove_file(&file).unwrap();
    }
}

/// All studies say the same of themselves, and how they are drawn.
#[test]
fn models_are_a_study_as_the_others_are() {
    let line = "bench models --connections 1,2 --models unified,split --rounds 1 --duration 0.03";
    let (figures, svg) = study(line, "models.svg");
    let settings = &figures["settings"];
    for key in ["device", "offloads", "congestion", "payload", "rounds", "duration", "peak per second"] {
        assert!(settings[key].is_string(), "{key} is not in {settings}");
    }
    assert_eq!(column(&figures, "connections"), [1.0, 2.0, 1.0, 2.0]);
    assert!(column(&figures, "of_unified")[..2] == [1.0, 1.0] && svg.contains("split p99"), "{figures}");
    let output = hayase(line);
    assert!(text(&output.stderr).contains("--svg FILE draws this"), "{}", text(&output.stderr));
    assert!(
        text(&output.stdout).starts_with("models\n  device           wire\n"),
        "{}",
        text(&output.stdout)
    );
}

#[test]
fn requests_at_a_rate_are_all_answered() {
    let figures = json("bench pingpong --connections 4 --rate 2000 --duration 1 --json");
    assert_eq!((&figures["due_per_second"], &figures["not_sent"]), (&2000.0.into(), &0.into()));
    assert_eq!(figures["round_trips"], 2000, "{figures}");
    let (seconds, rate) = (figures["seconds"].as_f64(), figures["round_trips_per_second"].as_f64());
    assert!(seconds > Some(0.99) && rate < Some(2100.0), "{figures}");
    assert!(figures["latency_ns"]["p99.9"].as_u64() >= figures["latency_ns"]["p50"].as_u64(), "{figures}");
    let figures = json("bench pingpong --round-trips 100 --rate 100000 --json");
    assert_eq!(figures["round_trips"], 100);
    let words = success("bench pingpong --rate 1000000000 --duration 0.02");
    assert!(
        words.contains("not sent in time") && words.contains("  due              1,000,000,000 requests/s"),
        "{words}"
    );
}

#[test]
fn virtual_time_does_what_it_is_told() {
    let line = "bench pingpong --virtual-time --round-trips 500 --connections 3 --idle 10 --payload 3000";
    for offloads in ["all", "none"] {
        let figures = json(&format!("{line} --offloads {offloads} --json"));
        assert_eq!((&figures["round_trips"], &figures["virtual_time"]), (&500.into(), &true.into()));
        assert_eq!((&figures["retransmissions"], &figures["drops"]), (&0.into(), &serde_json::json!({})));
    }
    // In time that no other program can take away, nothing is ever asked for twice.
    let figures = json("bench pingpong --virtual-time --round-trips 3000 --connections 32 --json");
    assert_eq!((&figures["retransmissions"], &figures["drops"]), (&0.into(), &serde_json::json!({})));
    assert!(success(line).contains("  time             virtual\n"));
    assert_eq!(json("bench pingpong --round-trips 5 --json")["virtual_time"], Value::Null);
}

#[test]
fn every_result_names_its_machine() {
    for line in ["bench pingpong --round-trips 10 --json", "bench bulk --bytes 1000 --json"] {
        let machine = &json(line)["machine"];
        assert!(machine["profile"].as_str().is_some_and(|profile| profile != "unknown"), "{machine}");
        assert_eq!(machine["arguments"].as_array().map(Vec::len), Some(5), "{machine}");
    }
}

#[test]
fn messages_are_sent_with_each_offload_left_out() {
    let line = "bench bulk --sweep message-size --values 63488,200000 --duration 0.02";
    let (figures, svg) = study(line, "bulk.svg");
    let rows = figures["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 12, "{figures}");
    let row = |set: &str| rows.iter().find(|row| row["set"] == set).unwrap_or_else(|| panic!("no {set}"));
    let offloads = |set: &str| row(set)["offloads"].as_str().unwrap().to_owned();
    assert_eq!(offloads("all"), "tx-checksum+rx-checksum+tso+lro+sg");
    assert_eq!(offloads("no zero-copy"), offloads("all"));
    assert_eq!(offloads("no TSO"), "tx-checksum+rx-checksum+lro+sg");
    assert_eq!(offloads("no TSO, no tx checksum"), "rx-checksum+lro+sg");
    assert!(!offloads("no rx checksum").contains("rx-checksum") && !offloads("no LRO").contains("lro"));
    assert_eq!(column(&figures, "message")[..2], [63_488.0, 200_000.0]);
    assert!(column(&figures, "gigabits_per_second").iter().all(|rate| *rate > 0.0), "{figures}");
    let (all, of_all) = (column(&figures, "gigabits_per_second"), column(&figures, "of_all"));
    assert!((of_all[3] - all[3] / all[1]).abs() < 1e-9, "{figures}");
    assert!(svg.contains("no TSO, no tx checksum") && svg.contains("KiB"), "{svg}");
}

#[test]
fn idle_connections_are_held_beside_one_that_works() {
    let (figures, _) = study("bench idle-cost --idle 0,200 --rounds 1 --duration 0.05", "idle.svg");
    assert_eq!(column(&figures, "idle"), [0.0, 200.0]);
    let (times, of_first) = (column(&figures, "p50_us"), column(&figures, "of_first"));
    assert!((of_first[1] - times[1] / times[0]).abs() < 1e-9 && of_first[0] == 1.0, "{figures}");
}

#[test]
fn memory_is_that_of_connections_and_of_tasks() {
    let (figures, svg) = study("bench memory --connections 500,2000", "memory.svg");
    assert_eq!(column(&figures, "connections"), [500.0, 2000.0]);
    let (without, with) =
        (column(&figures, "allocated_bytes"), column(&figures, "allocated_bytes_with_tasks"));
    assert!(without.iter().zip(&with).all(|(without, with)| *without > 100.0 && with > without), "{figures}");
    assert!(column(&figures, "resident_bytes_with_tasks")[1] > 100.0, "{figures}");
    assert!(svg.contains("allocated, with tasks"), "{svg}");
}

#[test]
fn connections_are_opened_and_closed() {
    let (figures, _) = study("bench churn --connections 1,16 --rounds 1 --duration 0.1", "churn.svg");
    let (opened, rate) = (column(&figures, "opened"), column(&figures, "connections_per_second"));
    assert!(opened.iter().all(|count| *count > 10.0) && rate.iter().all(|rate| *rate > 100.0), "{figures}");
    // A port comes again only once its connection is forgotten (RFC 6056): nobody asks twice, or thousands would. Where the
    // machine held this process up, each of the connections of that time may do so.
    let repeated = column(&figures, "retransmissions");
    assert!(repeated.iter().zip(opened).all(|(again, opened)| *again <= 16.0 + opened / 100.0), "{figures}");
}

#[test]
fn as_much_is_in_flight_as_was_asked_for() {
    let line = "bench in-flight --in-flight 64K,1M --bytes 4000000 --rounds 1";
    let (figures, _) = study(line, "in-flight.svg");
    let (wanted, seen) = (column(&figures, "in_flight"), column(&figures, "in_flight_seen"));
    assert_eq!(wanted, [65_536.0, 1_048_576.0]);
    assert!(
        seen.iter().zip(&wanted).all(|(seen, wanted)| (0.5..=2.0).contains(&(seen / wanted))),
        "{figures}"
    );
    assert!(column(&figures, "nanoseconds_per_byte").iter().all(|time| *time > 0.0), "{figures}");
}

/// A plain build has no peers, and says how to get them.
#[test]
fn peers_are_there_or_it_is_said_how_to_build_them() {
    let line = "bench peers --rounds 1 --duration 0.02";
    if !cfg!(feature = "peers") {
        let words = failure(line, 1);
        assert!(words.contains("cargo build --release -p hayase-tool --features peers"), "{words}");
        return;
    }
    let (figures, svg) = study(line, "peers.svg");
    let rows = figures["rows"].as_array().unwrap();
    assert_eq!(rows.iter().filter(|row| row["peer"] == "smoltcp").count(), 6, "{figures}");
    assert_eq!(rows.iter().filter(|row| row["peer"] == "tokio").count(), 3, "{figures}");
    let [min, median, max] = ["ratio_min", "ratio_median", "ratio_max"].map(|key| column(&figures, key));
    assert!((0..rows.len()).all(|row| 0.0 < min[row] && min[row] <= median[row] && median[row] <= max[row]));
    assert!(svg.contains("monoio"), "{svg}");
}

#[test]
fn the_report_is_one_page_with_every_study() {
    let folder = temporary("report");
    let written = json(&format!("bench report --out {} --quick --json", folder.display()));
    let page = fs::read_to_string(folder.join("index.html")).unwrap();
    let studies: Vec<_> =
        written["studies"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
    let expected = if cfg!(feature = "peers") { 10 } else { 9 };
    assert_eq!(studies.len(), expected, "{written}");
    for name in studies {
        assert!(page.contains(&format!("<section id=\"{name}\">")), "{name}");
        let figures: Value =
            serde_json::from_slice(&fs::read(folder.join(format!("{name}.json"))).unwrap()).unwrap();
        assert!(figures["rows"].as_array().is_some_and(|rows| !rows.is_empty()), "{name}: {figures}");
        assert!(
            fs::read_to_string(folder.join(format!("{name}.svg"))).unwrap().starts_with("<svg"),
            "{name}"
        );
    }
    assert_eq!(page.matches("<svg").count(), expected);
    assert_eq!(page.contains("--features peers"), !cfg!(feature = "peers"));
    fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn flags_that_make_no_sense_together_are_named() {
    for (line, part) in [
        ("bench pingpong --sweep connections --connections 5", "--values in place of --connections"),
        ("bench pingpong --sweep cores --cores 2", "--values in place of --cores"),
        ("bench pingpong --sweep cores --values 1,65", "goes to 64"),
        ("bench pingpong --rate 5 --cores 2", "leave --cores out"),
        ("bench pingpong --virtual-time --round-trips 5 --device kernel", "--device wire"),
        ("bench pingpong --virtual-time --round-trips 5 --model split", "leave --cores and --model out"),
        ("bench bulk --sweep message-size --cores 2", "leave --cores out"),
        ("bench idle-cost --device kernel", "--connect ADDR:PORT"),
        ("bench churn --device wire --connect 10.7.0.1:7", "leave --connect out"),
        ("bench memory --connections none", "from 1 to"),
        ("bench pingpong --sweep rate --cores 2", "leave --cores out"),
        ("bench pingpong --virtual-time --round-trips 5 --svg a.svg", "leave --svg out"),
        ("bench report --out x --device kernel", "--connect ADDR:PORT"),
        ("serve echo discard --port 7", "leave --port out"),
    ] {
        let words = failure(line, 2);
        assert!(words.contains(part), "{line}: {words}");
    }
    let words = failure("bench idle-cost --idle 1 --duration 0.01 --rounds 1 --svg /nowhere/a.svg", 1);
    assert!(words.contains("cannot draw into /nowhere/a.svg"), "{words}");
    let words = failure("bench memory --device kernel --connect 127.0.0.1:7 --connections 10", 1);
    assert!(words.contains("the kernel's memory"), "{words}");
    let words = failure("bench report --quick --out /proc/none", 1);
    assert!(words.contains("cannot make the folder /proc/none"), "{words}");
}

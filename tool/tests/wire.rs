//! The program itself, on the in-memory wire: no rights and no network are needed.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

const OFFLOADS: [&str; 8] = [
    "all",
    "none",
    "tx-checksum",
    "rx-checksum",
    "tx-checksum+tso",
    "rx-checksum+lro",
    "sg",
    "tx-checksum+rx-checksum+tso+lro+sg",
];

fn start(line: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hayase"));
    command.args(line.split_whitespace()).stdin(Stdio::null()).env_remove("HAYASE_DEVICE");
    command
}

fn hayase(line: &str) -> Output {
    start(line).output().expect("the program was built for this test")
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// What a command that must succeed printed.
fn success(line: &str) -> String {
    let output = hayase(line);
    assert!(output.status.success(), "{line}: {}\n{}", output.status, stderr(&output));
    stdout(&output)
}

fn json(line: &str) -> Value {
    serde_json::from_str(&success(line)).unwrap_or_else(|error| panic!("{line}: {error}"))
}

/// The exit code and the words of a command that must fail.
fn failure(line: &str) -> (Option<i32>, String) {
    let output = hayase(line);
    assert!(!output.status.success(), "{line} succeeded:\n{}", stdout(&output));
    (output.status.code(), stderr(&output))
}

/// More than a machine that is busy with other things brings about: a process that waits for a processor for longer than a
/// probe's time (RFC 8985 §7.2) has lost nothing, and asks all the same.
const ASKED_AGAIN_MAX: u64 = 20;

/// How often a run is made until that is met: what is lost is lost every time.
const RUNS: usize = 3;

/// What becomes of a segment that was sent again and not needed.
const OF_DUPLICATES: &str = "TCP_OLD_DATA";

/// The figures of a run in which nothing was dropped but what came twice, and hardly anything sent twice. (Of virtual time this
/// is exact: `evaluation.rs`.)
fn with_nothing_lost(line: &str) -> Value {
    let run = || {
        let figures = json(line);
        let again = figures["retransmissions"].as_u64().unwrap();
        for (name, count) in figures["drops"].as_object().unwrap() {
            let came_twice = name == OF_DUPLICATES && count.as_u64().is_some_and(|count| count <= again);
            assert!(came_twice, "{line}: {figures}");
        }
        (again <= ASKED_AGAIN_MAX).then_some(figures)
    };
    let figures = (0..RUNS).find_map(|_| run());
    figures.unwrap_or_else(|| panic!("{line}: more than {ASKED_AGAIN_MAX} sent again in each of {RUNS} runs"))
}

#[test]
fn round_trips_are_exact_with_every_offload_list() {
    for list in OFFLOADS {
        let line = format!(
            "bench pingpong --round-trips 500 --connections 3 --payload 3000 --offloads {list} --json"
        );
        let figures = with_nothing_lost(&line);
        assert_eq!(figures["round_trips"], 500, "{list}: {figures}");
        assert_eq!(figures["offloads"], if list == "all" { OFFLOADS[7] } else { list }, "{figures}");
    }
}

#[test]
fn bytes_are_exact_with_every_offload_list() {
    for (list, manner) in OFFLOADS.iter().flat_map(|list| [(list, ""), (list, "--owned")]) {
        let line = format!(
            "bench bulk --bytes 1000001 --connections 3 --write 10000 --offloads {list} --json {manner}"
        );
        let figures = with_nothing_lost(&line);
        assert_eq!(
            (&figures["bytes"], &figures["owned"]),
            (&1_000_001.into(), &(!manner.is_empty()).into()),
            "{figures}"
        );
    }
}

#[test]
fn every_figure_of_pingpong_is_there() {
    let figures = json("bench pingpong --duration 0.2 --connections 2 --idle 100 --json");
    assert_eq!((&figures["command"], &figures["device"]), (&"pingpong".into(), &"wire".into()));
    assert_eq!(
        (&figures["connections"], &figures["idle"], &figures["payload"]),
        (&2.into(), &100.into(), &1.into())
    );
    let seconds = figures["seconds"].as_f64().unwrap();
    let count = figures["round_trips"].as_f64().unwrap();
    assert!((0.2..20.0).contains(&seconds) && count > 100.0, "{figures}");
    let rate = figures["round_trips_per_second"].as_f64().unwrap();
    let each = figures["nanoseconds_per_round_trip"].as_f64().unwrap();
    assert!(
        (rate * seconds / count - 1.0).abs() < 1e-6 && (each * rate / 1e9 - 1.0).abs() < 1e-6,
        "{figures}"
    );
    let latency =
        ["p50", "p90", "p99", "p99.9", "max"].map(|name| figures["latency_ns"][name].as_u64().unwrap());
    assert!(latency[0] > 0 && latency.is_sorted(), "{figures}");
    assert_eq!(figures["version"], env!("CARGO_PKG_VERSION"));
}

/// What is reported was asked of a connection.
#[test]
fn the_chosen_congestion_control_is_that_of_the_connections() {
    let cases = [
        ("pingpong --round-trips 50", "", "cubic"),
        ("pingpong --round-trips 50", "--congestion newreno", "newreno"),
        ("pingpong --round-trips 50", "--congestion bbr --virtual-time", "bbr"),
        ("pingpong --round-trips 50", "--congestion bbr --cores 2", "bbr"),
        ("pingpong --round-trips 50", "--congestion bbr --model split", "bbr"),
        ("bulk --bytes 3000000", "--congestion bbr", "bbr"),
        ("bulk --bytes 3000000", "--congestion newreno --cores 2", "newreno"),
    ];
    for (bench, choice, name) in cases {
        let figures = json(&format!("bench {bench} {choice} --json"));
        assert_eq!(figures["congestion"], name, "{bench} {choice}: {figures}");
    }
}

#[test]
fn counted_round_trips_are_timed_only_when_asked() {
    assert_eq!(json("bench pingpong --round-trips 100 --json")["latency_ns"], Value::Null);
    assert!(json("bench pingpong --round-trips 100 --latency --json")["latency_ns"]["p50"].is_u64());
}

#[test]
fn bulk_ends_after_its_time_and_has_its_figures() {
    let figures = json("bench bulk --device wire:mtu=9000 --duration 0.2 --json");
    assert_eq!((&figures["command"], &figures["device"]), (&"bulk".into(), &"wire:mtu=9000".into()));
    let seconds = figures["seconds"].as_f64().unwrap();
    let bits = figures["bytes"].as_f64().unwrap() * 8.0;
    assert!((0.2..20.0).contains(&seconds) && bits > 0.0, "{figures}");
    assert!((figures["bits_per_second"].as_f64().unwrap() * seconds / bits - 1.0).abs() < 1e-6, "{figures}");
}

#[test]
fn people_get_lines() {
    let text = success("bench pingpong --round-trips 1000");
    assert!(
        text.starts_with("pingpong on wire\n") && text.contains("  round trips      1,000 in "),
        "{text}"
    );
    let text = success("bench bulk --bytes 1000000 --offloads none");
    assert!(text.contains("  offloads         none\n") && text.contains(" Gbit/s\n"), "{text}");
}

#[test]
fn every_service_is_shown_by_a_client_of_its_own() {
    for (service, port, part) in [
        ("echo", 7, "1048576 bytes came back"),
        ("discard", 9, "took 1048576 bytes and closed"),
        ("source", 19, "1048576 bytes of the pattern came in"),
        ("http", 80, "HTTP/1.1 200 OK"),
    ] {
        for port in [port, 4000] {
            let chosen = if port == 4000 { "--port 4000 --udp --ctl 4001" } else { "" };
            let output = hayase(&format!("serve {service} --device wire {chosen}"));
            assert!(output.status.success(), "{service}: {}", stderr(&output));
            let lines = format!("listening on 10.7.0.2:{port}\nlistening on [fd00:7::2]:{port}\n");
            assert_eq!(stdout(&output), lines, "{service}");
            assert_eq!(stderr(&output).matches(part).count(), 2, "{service}: {}", stderr(&output));
            assert!(stderr(&output).contains("--device tap:name=hy0,addr=10.7.0.2/24"), "{service}");
        }
    }
}

#[test]
fn replies_are_printed_and_counted() {
    for addr in ["10.7.0.1", "fd00:7::1"] {
        let text = success(&format!("ping {addr} --device wire --count 2 --interval 0.01 --size 1000"));
        let replies =
            text.lines().filter(|line| line.starts_with(&format!("1008 bytes from {addr}: icmp_seq=")));
        assert_eq!(replies.filter(|line| line.contains("time=")).count(), 2, "{text}");
        assert!(text.contains("2 packets transmitted, 2 received, 0% packet loss"), "{text}");
    }
    let figures = json("ping 10.7.0.1 --device wire --count 3 --interval 0.01 --json");
    assert_eq!((&figures["sent"], &figures["received"]), (&3.into(), &3.into()));
    let times = ["min", "avg", "max"].map(|name| figures["round_trip_ms"][name].as_f64().unwrap());
    assert!(times[0] > 0.0 && times.is_sorted(), "{figures}");
}

/// However short the interval is, the replies get their turn.
#[test]
fn pings_in_a_row_are_all_answered() {
    let figures = json("ping 10.7.0.1 --device wire --count 1000 --interval 0.000000001 --json");
    assert_eq!((&figures["sent"], &figures["received"]), (&1000.into(), &1000.into()), "{figures}");
}

/// As `| head -1` does it.
#[test]
fn a_reader_who_has_read_enough_ends_it_quietly() {
    for line in [
        "ping 10.7.0.1 --device wire --count 100 --interval 0.02",
        "bench pingpong --round-trips 1000",
        "bench bulk --bytes 100000 --json",
        "sim storm --count 1",
        "doctor",
    ] {
        let (reader, writer) = std::io::pipe().unwrap();
        // Who says little may have said it before a reader goes: of these it goes first.
        let reader = line.starts_with("ping").then(|| BufReader::new(reader));
        let child = start(line).stdout(writer).stderr(Stdio::piped()).spawn().unwrap();
        if let Some(mut reader) = reader {
            reader.read_line(&mut String::new()).unwrap();
        }
        let output = child.wait_with_output().unwrap();
        let words = stderr(&output);
        assert_eq!(output.status.code(), Some(1), "{line}: {words}");
        assert!(!words.contains("panicked") && !words.contains("standard output"), "{line}: {words}");
    }
}

/// The frames of a pcapng, as far as it has them, and their lengths.
fn recorded(file: &Path) -> Vec<(Vec<u8>, usize)> {
    let record = std::fs::read(file).unwrap();
    let word = |at: usize| u32::from_ne_bytes(record[at..at + 4].try_into().unwrap()) as usize;
    let (mut at, mut frames) = (0, Vec::new());
    while at < record.len() {
        if word(at) == 6 {
            frames.push((record[at + 28..at + 28 + word(at + 20)].to_vec(), word(at + 24)));
        }
        at += word(at + 4);
    }
    frames
}

#[test]
fn what_goes_by_can_be_recorded() {
    let file = std::env::temp_dir().join(format!("hayase-wire-{}.pcapng", std::process::id()));
    let record = |line: &str| {
        success(&format!("{line} --device wire --capture {}", file.display()));
        recorded(&file)
    };
    let ping = "ping 10.7.0.1 --count 3 --interval 0.01 --size 1000";
    let (frame_len, is_icmp) = (14 + 20 + 8 + 1000, |frame: &[u8]| frame[12..14] == [8, 0] && frame[23] == 1);
    let mut frames = record(ping);
    frames.retain(|(frame, _)| is_icmp(frame));
    // There and back, each seen by both hosts of the wire.
    assert_eq!(frames.len(), 3 * 2 * 2);
    assert!(frames.iter().all(|(frame, len)| (frame.len(), *len) == (frame_len, frame_len)));
    assert!(frames.iter().all(|(frame, _)| frame[42..] == frames[0].0[42..]), "what is echoed is the same");
    let mut frames = record(&format!("{ping} --snap-len 64"));
    frames.retain(|(frame, _)| is_icmp(frame));
    assert!(frames.len() == 12 && frames.iter().all(|(frame, len)| (frame.len(), *len) == (64, frame_len)));
    let says = |frame: &[u8]| frame.windows(15).any(|words| words == b"HTTP/1.1 200 OK");
    let count = record("serve http").iter().filter(|(frame, _)| says(frame)).count();
    assert!(count >= 4 && count % 2 == 0, "{count}");
    std::fs::remove_file(&file).unwrap();

    let (code, words) = failure("ping 10.7.0.1 --device wire --count 1 --capture /nonexistent/file");
    assert!(code == Some(1) && words.contains("cannot record in /nonexistent/file"), "{words}");
    let (_, words) = failure("ping 127.0.0.1 --device kernel --count 1 --capture /dev/null");
    assert!(words.contains("tcpdump"), "{words}");
}

#[test]
fn every_model_serves_and_measures() {
    for model in ["unified", "split", "merge"] {
        let output = hayase(&format!("serve http --device wire --model {model}"));
        assert!(output.status.success(), "{model}: {}", stderr(&output));
        assert_eq!(stderr(&output).matches("200 OK").count(), 2, "{model}: {}", stderr(&output));
        let line =
            format!("bench pingpong --model {model} --connections 5 --round-trips 500 --payload 300 --json");
        let figures = json(&line);
        assert_eq!((&figures["model"], &figures["round_trips"]), (&model.into(), &500.into()));
        let figures =
            with_nothing_lost(&format!("bench bulk --model {model} --bytes 5000000 --owned --json"));
        assert_eq!(figures["bytes"], 5_000_000);
    }
}

#[test]
fn models_are_compared_and_drawn() {
    let file = std::env::temp_dir().join(format!("hayase-wire-models-{}.svg", std::process::id()));
    let line =
        format!("bench models --connections 1,4 --rounds 1 --duration 0.05 --json --svg {}", file.display());
    let figures = json(&line);
    let svg = std::fs::read_to_string(&file).unwrap();
    std::fs::remove_file(&file).unwrap();
    let curves = figures["curves"].as_array().unwrap();
    let names: Vec<_> = curves.iter().map(|curve| curve["model"].as_str().unwrap()).collect();
    assert_eq!(names, ["unified", "split", "merge"]);
    for curve in curves {
        let points = curve["points"].as_array().unwrap();
        assert_eq!(points.len(), 2, "{figures}");
        assert!(points.iter().all(|point| point["p50_ns"].as_u64() <= point["p99_ns"].as_u64()), "{figures}");
        assert!(svg.contains(&format!("{} p99", curve["model"].as_str().unwrap())));
    }
}

#[test]
fn several_services_have_a_port_each() {
    let output = hayase("serve echo discard close --device wire");
    assert!(output.status.success(), "{}", stderr(&output));
    let ports: Vec<_> = stdout(&output)
        .lines()
        .filter_map(|line| line.strip_prefix("listening on 10.7.0.2:"))
        .map(str::to_owned)
        .collect();
    assert_eq!(ports, ["7", "9", "10"], "{}", stdout(&output));
    for words in [
        "10.7.0.2:7: 1048576 bytes came back",
        "10.7.0.2:9: took 1048576 bytes",
        "10.7.0.2:10: closed at once",
    ] {
        assert!(stderr(&output).contains(words), "{words}: {}", stderr(&output));
    }
    let output = hayase("serve close --port 7000-7002 --device wire");
    let count = stdout(&output).matches("listening on 10.7.0.2:700").count();
    assert_eq!((count, output.status.success()), (3, true), "{}", stderr(&output));
}

#[test]
fn silence_is_a_failure() {
    let output = hayase("ping 10.7.0.99 --device wire --count 1 --timeout 0.1");
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stdout(&output).contains("1 packets transmitted, 0 received, 100% packet loss"),
        "{}",
        stdout(&output)
    );
}

#[test]
fn failures_say_what_to_do() {
    for (line, part) in [
        ("connect 10.7.0.1:99 --device wire", "cannot connect to 10.7.0.1:99: connection refused"),
        ("ping 192.0.2.1 --device wire", "cannot ping 192.0.2.1: network unreachable: add an address"),
        ("serve echo --device tap:name=a-name-that-is-too-long,addr=10.7.0.2/24", "take 1 to 15 bytes"),
        ("serve echo --device wire --ctl 7", "cannot listen on port 7"),
    ] {
        let (code, text) = failure(line);
        assert_eq!(code, Some(1), "{line}: {text}");
        assert!(text.contains(part), "{line}: {text}");
    }
}

#[test]
fn wrong_usage_has_a_code_of_its_own() {
    for (line, part) in [
        ("", "Usage:"),
        ("bench bulk --device tap:name=hy0,addr=10.7.0.2/24", "--connect ADDR:PORT"),
        ("bench pingpong --device wire --connect 10.7.0.1:7", "leave --connect out"),
        ("bench pingpong --offloads warp", "tx-checksum"),
        ("serve gopher", "echo"),
    ] {
        let (code, text) = failure(line);
        assert_eq!(code, Some(2), "{line}: {text}");
        assert!(text.contains(part), "{line}: {text}");
    }
}

#[test]
fn the_environment_names_the_device() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hayase"));
    command.args(["bench", "bulk", "--bytes", "1000", "--json"]).env("HAYASE_DEVICE", "wire:mtu=1400");
    let output = command.output().unwrap();
    assert!(
        stdout(&output).contains(r#""device":"wire:mtu=1400""#),
        "{}{}",
        stdout(&output),
        stderr(&output)
    );
}

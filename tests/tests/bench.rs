//! `hayase bench` on the in-memory wire, for which no rights are needed; and every study of it on devices that lead elsewhere.

use std::path::Path;
use std::time::Duration;

use hayase_tests::site::listens_at;
use hayase_tests::{Device, Family, Offloads, Process, Site, binary, kernel, rights};
use serde_json::Value;

const LIMIT: Duration = Duration::from_secs(60);

const OFFLOADS: [&str; 8] = [
    "all",
    "none",
    "tx-checksum",
    "rx-checksum",
    "tx-checksum+tso",
    "lro",
    "sg",
    "tx-checksum+rx-checksum+tso+lro+sg",
];

fn bench(arguments: &[&str]) -> Value {
    let mut command = binary::hayase();
    command.arg("bench").args(arguments).arg("--json");
    let exit = Process::spawn(&mut command).wait(LIMIT).success();
    serde_json::from_slice(&exit.stdout)
        .unwrap_or_else(|error| panic!("{arguments:?}: not one JSON value: {error}\n{}", exit.text()))
}

#[test]
fn pingpong_makes_exactly_its_round_trips() {
    for offloads in OFFLOADS {
        let figures = bench(&["pingpong", "--round-trips", "1000", "--offloads", offloads]);
        assert_eq!(figures["round_trips"], 1000, "{offloads}: {figures}");
    }
}

#[test]
fn bulk_moves_exactly_its_bytes() {
    for offloads in OFFLOADS {
        let figures = bench(&["bulk", "--bytes", "3000000", "--offloads", offloads]);
        assert_eq!(figures["bytes"], 3_000_000, "{offloads}: {figures}");
    }
}

#[test]
fn two_cores_share_the_work() {
    let figures = bench(&["pingpong", "--cores", "2", "--connections", "3", "--round-trips", "1001"]);
    assert_eq!(
        (&figures["round_trips"], &figures["connections"], &figures["cores"]),
        (&1001.into(), &6.into(), &2.into()),
        "{figures}"
    );
    let figures = bench(&["bulk", "--cores", "2", "--connections", "3", "--bytes", "1000001", "--owned"]);
    assert_eq!(
        (&figures["bytes"], &figures["connections"], &figures["cores"]),
        (&1_000_001.into(), &6.into(), &2.into()),
        "{figures}"
    );
}

#[test]
fn round_trips_are_shared_by_the_connections() {
    let counts = ["--connections", "7", "--round-trips", "1000", "--payload", "2000"];
    let figures = bench(&[&["pingpong"], &counts[..]].concat());
    assert_eq!(figures["round_trips"], 1000, "{figures}");
}

#[test]
fn idle_connections_are_held() {
    let figures = bench(&["pingpong", "--connections", "1", "--idle", "1000", "--round-trips", "100"]);
    assert_eq!(figures["round_trips"], 100, "{figures}");
}

#[test]
fn a_duration_ends_a_bench() {
    // Built first: what is timed is the bench.
    bench(&["pingpong", "--round-trips", "1"]);
    for bench_name in ["pingpong", "bulk"] {
        let start = std::time::Instant::now();
        let figures = bench(&[bench_name, "--duration", "1"]);
        let field = if bench_name == "pingpong" { "round_trips" } else { "bytes" };
        assert!(figures[field].as_u64().is_some_and(|count| count > 0), "{figures}");
        assert!((1.0..20.0).contains(&start.elapsed().as_secs_f64()));
    }
}

#[test]
fn the_wire_takes_a_larger_mtu() {
    let figures = bench(&["bulk", "--device", "wire:mtu=9000", "--bytes", "3000000", "--offloads", "none"]);
    assert_eq!(figures["bytes"], 3_000_000, "{figures}");
}

#[test]
fn an_unknown_offload_is_refused_with_the_names() {
    let mut command = binary::hayase();
    command.args(["bench", "pingpong", "--round-trips", "1", "--offloads", "warp"]);
    let exit = Process::spawn(&mut command).wait(LIMIT);
    assert!(!exit.status.success());
    assert!(exit.stderr.contains("warp") && exit.stderr.contains("tx-checksum"), "{}", exit.stderr);
}

#[test]
fn a_device_that_cannot_be_opened_says_what_to_do() {
    let mut command = binary::hayase();
    command.args([
        "ping",
        "10.7.0.1",
        "--device",
        "tap:name=a-name-of-more-than-15-letters,addr=10.7.0.2/24",
    ]);
    let exit = Process::spawn(&mut command).wait(LIMIT);
    assert!(!exit.status.success());
    let text = &exit.stderr;
    assert!(text.contains("a-name-of-more-than-15-letters") && text.contains("take 1 to 15 bytes"), "{text}");
}

/// In a program that has the feature.
#[test]
fn netmap_says_what_it_lacks() {
    if !rights::can_use_dpdk() {
        return;
    }
    if Path::new("/dev/netmap").exists() {
        rights::say_skipped("netmap's module is here, and nothing is lacking");
        return;
    }
    let mut command = binary::hayase_with_dpdk();
    command.args(["serve", "echo", "--device", "netmap:port=pipe{1,addr=10.7.0.2/24"]);
    let exit = Process::spawn(&mut command).wait(LIMIT);
    assert!(!exit.status.success() && exit.stderr.contains("there is no /dev/netmap"), "{exit:?}");
}

/// Other stacks and runtimes are built in by a feature.
#[test]
fn every_peer_is_measured() {
    if !rights::can_use_dpdk() {
        return;
    }
    let mut command = binary::hayase_with_dpdk();
    command.args(["bench", "peers", "--rounds", "1", "--duration", "0.02", "--json"]);
    let exit = Process::spawn(&mut command).wait(LIMIT).success();
    let figures: Value = serde_json::from_slice(&exit.stdout).unwrap();
    let rows = figures["rows"].as_array().unwrap();
    for peer in ["smoltcp", "tokio", "monoio"] {
        let mut theirs = rows.iter().filter(|row| row["peer"] == peer).peekable();
        assert!(theirs.peek().is_some(), "{peer}: {figures}");
        let has_rates =
            |row: &Value| ["hayase", "theirs"].map(|side| row[side].as_f64() > Some(0.0)) == [true; 2];
        assert!(theirs.all(has_rates), "{peer}: {figures}");
    }
}

/// The servers that the studies ask for, on the kernel's sockets: echo on several ports, discard, close.
fn servers(site: &Site) -> [Process; 2] {
    kernel::raise_file_limit();
    let serve = |arguments: &[&str]| {
        let mut command = binary::hayase();
        command.arg("serve").args(arguments).args(["--device", "kernel"]);
        let process = Process::spawn_in(&site.namespace, &mut command);
        process.line(LIMIT, |line| listens_at(line).is_some());
        process
    };
    [serve(&["echo", "--port", "7000-7002"]), serve(&["discard", "close"])]
}

/// One report, briefly, of all that can be measured on a device, the servers elsewhere.
fn check_studies(device: Device, left_out: &[(&str, &str)]) {
    Site::run(device, Family::V4, Offloads::All, |site| {
        let _servers = servers(site);
        let folder = std::env::temp_dir().join(format!("hayase-studies-{device:?}-{}", std::process::id()));
        let [echo, discard, close] = [7000, 9, 10].map(|port| site.kernel(port).to_string());
        let out = folder.display().to_string();
        let servers = ["--connect", &format!("{echo}-7002"), "--discard", &discard, "--close", &close];
        let exit =
            site.start(&[&["bench", "report", "--quick", "--json", "--out", &out], &servers[..]].concat());
        let exit = exit.wait(Duration::from_secs(180)).success();
        let written: Value = serde_json::from_slice(&exit.stdout).unwrap();
        let missing = written["left_out"].as_array().unwrap();
        assert_eq!(missing.len(), left_out.len(), "{device:?}: {written}");
        for (entry, (name, part)) in missing.iter().zip(left_out) {
            assert!(entry[0] == *name && entry[1].as_str().unwrap().contains(part), "{device:?}: {entry}");
        }
        let studies = written["studies"].as_array().unwrap();
        assert_eq!(studies.len() + left_out.len(), 10, "{device:?}: {written}");
        for name in studies.iter().map(|name| name.as_str().unwrap()) {
            let text = std::fs::read(folder.join(format!("{name}.json"))).unwrap();
            let figures: Value = serde_json::from_slice(&text).unwrap();
            assert!(figures["rows"].as_array().is_some_and(|rows| !rows.is_empty()), "{name}: {figures}");
            let kind = |spec: &str| spec.split(':').next().map(str::to_owned);
            let told = figures["settings"]["device"].as_str().and_then(kind);
            assert_eq!(told, kind(&site.device()), "{name}: {figures}");
            // Offloads of the kernel's sockets are not ours to set, so there are no points without them.
            let may_fail = device == Device::Kernel && figures["command"] == "bulk";
            assert!(may_fail || figures.get("failed").is_none(), "{device:?} {name}: {}", figures["failed"]);
        }
        std::fs::remove_dir_all(&folder).unwrap();
    });
}

/// What no device but the wire can do, or this build.
const ON_THE_WIRE: [(&str, &str); 2] = [("in-flight", "virtual time"), ("peers", "--features peers")];

#[test]
fn every_study_is_made_over_tap() {
    check_studies(Device::Tap, &ON_THE_WIRE);
}

#[test]
fn every_study_is_made_on_the_kernels_sockets() {
    let [in_flight, peers] = ON_THE_WIRE;
    check_studies(Device::Kernel, &[in_flight, ("memory", "the kernel's memory"), peers]);
}

/// Connections for which one port of a server does not do are spread over its ports; a point that cannot be had takes no
/// other with it.
#[test]
fn more_idle_connections_than_a_port_takes_are_spread_or_told() {
    Site::run(Device::Tap, Family::V4, Offloads::All, |site| {
        kernel::raise_file_limit();
        // A process each: what one may open is limited.
        let serve = |port: &str| {
            let mut command = binary::hayase();
            command.args(["serve", "echo", "--port", port, "--device", "kernel"]);
            let process = Process::spawn_in(&site.namespace, &mut command);
            process.line(LIMIT, |line| listens_at(line).is_some());
            process
        };
        let study = || -> Value {
            let target = format!("{}-7001", site.kernel(7000));
            let line =
                ["bench", "idle-cost", "--idle", "0,20001", "--rounds", "2", "--duration", "0.2", "--json"];
            let exit = site.start(&[&line[..], &["--connect", &target]].concat());
            let exit = exit.wait(Duration::from_secs(180)).success();
            serde_json::from_slice(&exit.stdout).unwrap()
        };
        let idle = |figures: &Value| -> Vec<u64> {
            figures["rows"].as_array().unwrap().iter().map(|row| row["idle"].as_u64().unwrap()).collect()
        };
        let (_first, second) = (serve("7000"), serve("7001"));
        let spread = study();
        assert_eq!((idle(&spread), &spread["failed"]), (vec![0, 20_001], &Value::Null), "{spread}");
        drop(second);
        let told = study();
        assert_eq!((idle(&told), &told["failed"][0]["point"]), (vec![0], &"20,001 idle".into()), "{told}");
        let reason = told["failed"][0]["reason"].as_str().unwrap();
        assert!(reason.starts_with("cannot open connection 100") && reason.contains(":7001"), "{reason}");
    });
}

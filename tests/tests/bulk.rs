//! A gigabyte each way, compared by SHA-256.

use std::env;
use std::io::{self, Write};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use hayase_tests::pattern::{hash_to_end, pattern_hash};
use hayase_tests::{Site, kernel, matrix, site};

/// How many bytes go each way: `HAYASE_TEST_BYTES`, or 1 GiB in an optimised build and 64 MiB in another.
static BYTES: LazyLock<u64> = LazyLock::new(|| {
    let default = if cfg!(debug_assertions) { 64 << 20 } else { 1 << 30 };
    env::var("HAYASE_TEST_BYTES").map_or(default, |text| {
        text.parse().unwrap_or_else(|error| panic!("HAYASE_TEST_BYTES={text}: {error}"))
    })
});

/// Prints what was moved, past the test harness's capture: the size depends on the build.
fn report(site: &Site, direction: &str, elapsed: Duration) {
    let (family, offloads, bytes) = (site.family, site.offloads, *BYTES);
    let rate = bytes as f64 * 8e-9 / elapsed.as_secs_f64();
    let line =
        format!("bulk {direction}, {family:?}, offloads {offloads}: {bytes} bytes, {rate:.2} Gbit/s\n");
    io::stderr().write_all(line.as_bytes()).expect("standard error can be written");
}

matrix! {
    fn from_us_to_the_kernel(site) {
        let _alone = site::heavy();
        let _server = site.serve_control();
        let start = Instant::now();
        let received = hash_to_end(site.order(&format!("SENDCLOSE {}", *BYTES))).unwrap();
        report(site, "to the kernel", start.elapsed());
        assert_eq!(received, (*BYTES, pattern_hash(*BYTES)));
    }

    /// There and back: what comes back is what arrived.
    fn from_the_kernel_to_us_and_back(site) {
        let _alone = site::heavy();
        let _server = site.serve("echo", &[]);
        let stream = site.connect();
        let start = Instant::now();
        kernel::echo_of_pattern(&stream, *BYTES);
        report(site, "from the kernel and back", start.elapsed());
    }

    /// The same on a connection that we have opened, to a server of the kernel's.
    fn from_a_server_of_the_kernel_to_us_and_back(site) {
        let _alone = site::heavy();
        let _server = site.serve_control();
        let stream = site.dialled();
        let start = Instant::now();
        kernel::echo_of_pattern(&stream, *BYTES);
        report(site, "from a server of the kernel and back", start.elapsed());
    }
}

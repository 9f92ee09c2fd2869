//! ICMP echo, both ways, up to datagrams of several fragments.

use hayase_tests::site::{hayase_address, kernel_address};
use hayase_tests::{kernel, matrix_in_full, rights};

/// From nothing over the largest that fits into a frame (1,472 bytes over IPv4, 1,452 over IPv6) to six
/// fragments.
const SIZES: [u16; 9] = [0, 56, 1400, 1452, 1453, 1472, 1473, 4000, 8192];

matrix_in_full! {
    fn the_kernel_pings_us(site) {
        if !rights::has_program("ping") {
            return;
        }
        let _server = site.serve("echo", &[]);
        let address = hayase_address(site.family).to_string();
        for size in SIZES.into_iter().filter(|size| site.carries((*size).into())).map(|size| size.to_string()) {
            let arguments = ["-n", "-c", "3", "-i", "0.05", "-W", "5", "-s", &size, &address];
            let report = site.system("ping", &arguments);
            assert!(report.contains(" 3 received, 0% packet loss"), "{report}");
            // ping compares the content, and complains, but its exit status does not.
            assert!(!report.contains("wrong data") && !report.contains("truncated"), "{report}");
        }
    }

    fn we_ping_the_kernel(site) {
        let address = kernel_address(site.family).to_string();
        for size in SIZES.into_iter().filter(|size| site.carries((*size).into())) {
            let arguments =
                ["ping", &address, "--size", &size.to_string(), "--count", "3", "--interval", "0.05", "--json"];
            let exit = site.start(&arguments).wait(kernel::PATIENCE).success();
            let summary: serde_json::Value = serde_json::from_slice(&exit.stdout)
                .unwrap_or_else(|error| panic!("{size} bytes: {error}\n{}", exit.text()));
            assert_eq!((&summary["sent"], &summary["received"]), (&3.into(), &3.into()), "{size}: {summary}");
        }
    }
}

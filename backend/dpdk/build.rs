//! Finds DPDK with pkg-config and compiles the shim over its inline functions.
#![forbid(unsafe_code)]

fn main() {
    println!("cargo::rerun-if-changed=shim");
    #[cfg(feature = "link")]
    link::link();
}

#[cfg(feature = "link")]
mod link {
    /// The libraries whose functions this crate calls. Drivers are plugins, which EAL finds at run time; that of vhost
    /// is asked about its guest, too.
    const LIBRARIES: [&str; 7] =
        ["rte_eal", "rte_ethdev", "rte_mbuf", "rte_mempool", "rte_ring", "rte_net_vhost", "rte_vhost"];

    /// What Debian 12 has. The shim refuses to compile where the layout of an mbuf is another.
    const VERSION_MIN: &str = "22.11";

    pub(super) fn link() {
        let mut probe = pkg_config::Config::new();
        let found = probe.atleast_version(VERSION_MIN).cargo_metadata(false).probe("libdpdk");
        let dpdk = found.unwrap_or_else(|error| {
            panic!("DPDK {VERSION_MIN} or later is needed (Debian: apt-get install libdpdk-dev pkg-config)\n{error}")
        });
        compile_shim(&dpdk);
        for path in &dpdk.link_paths {
            println!("cargo::rustc-link-search=native={}", path.display());
        }
        for library in LIBRARIES {
            println!("cargo::rustc-link-lib=dylib={library}");
        }
    }

    fn compile_shim(dpdk: &pkg_config::Library) {
        let mut build = cc::Build::new();
        // DPDK's headers are made for its own set of warnings.
        build.file("shim/shim.c").includes(&dpdk.include_paths).warnings(false).opt_level(2);
        // pkg-config's flags name a configuration to include first, and the least processor.
        build.flag("-include").flag("rte_config.h");
        if std::env::var("CARGO_CFG_TARGET_ARCH").as_deref() == Ok("x86_64") {
            build.flag("-march=corei7");
        }
        build.compile("hayase_dpdk_shim");
    }
}

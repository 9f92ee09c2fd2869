//! The declarations of what is called: DPDK's own functions, and those of the shim.

use std::ffi::{c_char, c_int, c_uint, c_void};

/// `struct rte_mempool`, of which nothing is looked at.
#[repr(C)]
pub(super) struct Mempool {
    _opaque: [u8; 0],
}

/// `struct rte_mbuf`. The shim asserts the offset of every field that is used, and the size.
#[repr(C, align(64))]
#[derive(Debug)]
pub(super) struct Mbuf {
    pub(super) buf_addr: *mut u8,
    pub(super) buf_iova: u64,
    pub(super) data_off: u16,
    pub(super) refcnt: u16,
    pub(super) nb_segs: u16,
    pub(super) port: u16,
    pub(super) ol_flags: u64,
    pub(super) packet_type: u32,
    pub(super) pkt_len: u32,
    pub(super) data_len: u16,
    pub(super) vlan_tci: u16,
    pub(super) hash_rss: u32,
    hash_high: u32,
    vlan_tci_outer: u16,
    pub(super) buf_len: u16,
    pub(super) pool: *mut Mempool,
    pub(super) next: *mut Mbuf,
    pub(super) tx_offload: u64,
    shinfo: *mut c_void,
    priv_size: u16,
    timesync: u16,
    dynfield: [u32; 9],
}

const _: () = assert!(size_of::<Mbuf>() == 128);

/// `struct hayase_port_info` of the shim.
#[repr(C)]
pub(super) struct PortInfo {
    pub(super) driver: *const c_char,
    pub(super) rx_offloads: u64,
    pub(super) tx_offloads: u64,
    pub(super) rss_fields: u64,
    pub(super) lro_len_max: u32,
    pub(super) queues_max: u16,
    pub(super) mtu_max: u16,
    pub(super) fragments_max: u16,
    pub(super) table_len: u16,
    pub(super) key_len: u16,
}

/// `struct hayase_port_config` of the shim.
#[repr(C)]
pub(super) struct PortConfig {
    pub(super) rx_offloads: u64,
    pub(super) tx_offloads: u64,
    pub(super) rss_fields: u64,
    pub(super) rss_key: *const u8,
    pub(super) mtu: u32,
    pub(super) lro_len_max: u32,
    pub(super) queues: u16,
    pub(super) rss_key_len: u8,
    pub(super) rx_interrupts: u8,
}

/// `rte_mbuf_extbuf_free_callback_t`.
pub(super) type Release = unsafe extern "C" fn(addr: *mut c_void, opaque: *mut c_void);

unsafe extern "C" {
    pub(super) fn rte_eal_init(argc: c_int, argv: *mut *mut c_char) -> c_int;
    pub(super) fn rte_eal_iova_mode() -> c_int;
    pub(super) fn rte_thread_register() -> c_int;
    pub(super) fn rte_thread_unregister();
    pub(super) fn rte_strerror(error: c_int) -> *const c_char;
    pub(super) fn rte_malloc(kind: *const c_char, size: usize, align: c_uint) -> *mut c_void;
    pub(super) fn rte_free(memory: *mut c_void);

    pub(super) fn rte_pktmbuf_pool_create(
        name: *const c_char,
        count: c_uint,
        cache: c_uint,
        private_len: u16,
        room: u16,
        socket: c_int,
    ) -> *mut Mempool;
    pub(super) fn hayase_pool_create_dense(
        name: *const c_char,
        count: c_uint,
        cache: c_uint,
        private_len: u16,
        room: u16,
    ) -> *mut Mempool;
    pub(super) fn rte_mempool_free(pool: *mut Mempool);
    pub(super) fn rte_mempool_in_use_count(pool: *const Mempool) -> c_uint;

    pub(super) fn rte_dev_probe(devargs: *const c_char) -> c_int;
    pub(super) fn rte_eth_dev_get_port_by_name(name: *const c_char, port: *mut u16) -> c_int;
    pub(super) fn rte_eth_dev_start(port: u16) -> c_int;
    pub(super) fn rte_eth_dev_set_mtu(port: u16, mtu: u16) -> c_int;
    pub(super) fn rte_eth_allmulticast_enable(port: u16) -> c_int;
    pub(super) fn rte_eth_promiscuous_enable(port: u16) -> c_int;
    pub(super) fn rte_eth_tx_done_cleanup(port: u16, queue: u16, count: u32) -> c_int;
    pub(super) fn rte_eth_dev_rx_intr_enable(port: u16, queue: u16) -> c_int;
    pub(super) fn rte_eth_dev_rx_intr_disable(port: u16, queue: u16) -> c_int;
    pub(super) fn rte_eth_dev_rx_intr_ctl_q_get_fd(port: u16, queue: u16) -> c_int;

    pub(super) fn hayase_errno() -> c_int;
    pub(super) fn hayase_log_begin();
    pub(super) fn hayase_log_end(into: *mut u8, len: usize) -> usize;
    pub(super) fn hayase_is_lcore() -> c_int;
    pub(super) fn hayase_mbuf_alloc(pool: *mut Mempool) -> *mut Mbuf;
    pub(super) fn hayase_mbuf_free_segment(mbuf: *mut Mbuf);
    pub(super) fn hayase_mbuf_free(mbuf: *mut Mbuf);
    pub(super) fn hayase_mbuf_attach(indirect: *mut Mbuf, mbuf: *mut Mbuf);
    pub(super) fn hayase_mbuf_attach_external(
        mbuf: *mut Mbuf,
        addr: *mut c_void,
        len: u16,
        shared_info: *mut c_void,
        release: Release,
    );
    pub(super) fn hayase_pool_flush(pool: *mut Mempool);
    pub(super) fn hayase_rx_burst(port: u16, queue: u16, mbufs: *mut *mut Mbuf, count: u16) -> u16;
    pub(super) fn hayase_tx_prepare(port: u16, queue: u16, mbufs: *mut *mut Mbuf, count: u16) -> u16;
    pub(super) fn hayase_tx_burst(port: u16, queue: u16, mbufs: *mut *mut Mbuf, count: u16) -> u16;
    pub(super) fn hayase_port_info(port: u16, info: *mut PortInfo) -> c_int;
    pub(super) fn hayase_port_configure(port: u16, config: *const PortConfig) -> c_int;
    pub(super) fn hayase_queue_setup(
        port: u16,
        queue: u16,
        pool: *mut Mempool,
        rx_len: u16,
        tx_len: u16,
        free_threshold: u16,
    ) -> c_int;
    pub(super) fn hayase_port_link_is_up(port: u16) -> c_int;
    pub(super) fn hayase_port_mac(port: u16, mac: *mut u8) -> c_int;
    pub(super) fn hayase_port_set_mac(port: u16, mac: *const u8) -> c_int;
    pub(super) fn hayase_port_losses(port: u16, losses: *mut u64) -> c_int;
    pub(super) fn hayase_port_rss(
        port: u16,
        queues: u16,
        table: *mut u16,
        table_len: u16,
        key: *mut u8,
        key_len: u8,
        fields: *mut u64,
    ) -> c_int;
    pub(super) fn hayase_rss_ports(fields: u64) -> u8;
    pub(super) fn hayase_rss_known_fields() -> u64;
    pub(super) fn hayase_port_close(port: u16, is_virtual: c_int);
    pub(super) fn hayase_packet_socket(port: u16, queue: u16) -> c_int;
    pub(super) fn hayase_vhost_features(port: u16) -> u64;
}

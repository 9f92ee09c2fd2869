/*
 * DPDK's inline functions as functions, and its larger structures as flat ones.
 *
 * What a frame's path reads and writes of an mbuf is laid out in src/sys/ffi.rs as well: the assertions below keep the
 * two together. Nothing here decides anything.
 */
#include <errno.h>
#include <semaphore.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include <linux/if_packet.h>

#include <rte_alarm.h>
#include <rte_dev.h>
#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_eth_vhost.h>
#include <rte_ethdev.h>
#include <rte_lcore.h>
#include <rte_log.h>
#include <rte_malloc.h>
#include <rte_mbuf.h>
#include <rte_mbuf_pool_ops.h>
#include <rte_mempool.h>
#include <rte_vhost.h>

#define AT(field, offset) _Static_assert(offsetof(struct rte_mbuf, field) == (offset), #field)
AT(buf_addr, 0);
AT(data_off, 16);
AT(refcnt, 18);
AT(nb_segs, 20);
AT(port, 22);
AT(ol_flags, 24);
AT(packet_type, 32);
AT(pkt_len, 36);
AT(data_len, 40);
AT(hash.rss, 44);
AT(buf_len, 54);
AT(pool, 56);
AT(next, 64);
AT(tx_offload, 72);
AT(shinfo, 80);
AT(priv_size, 88);
_Static_assert(sizeof(struct rte_mbuf) == 128, "mbuf");
_Static_assert(sizeof(struct rte_mbuf_ext_shared_info) <= 24, "shared info");
_Static_assert(RTE_PKTMBUF_HEADROOM == 128, "headroom");
_Static_assert(RTE_MBUF_L2_LEN_BITS == 7 && RTE_MBUF_L3_LEN_BITS == 9 && RTE_MBUF_L4_LEN_BITS == 8, "tx_offload");
_Static_assert(RTE_MBUF_F_RX_RSS_HASH == 1ULL << 1 && RTE_MBUF_F_RX_LRO == 1ULL << 16, "rx flags");
_Static_assert(RTE_MBUF_F_RX_L4_CKSUM_BAD == 1ULL << 3 && RTE_MBUF_F_RX_L4_CKSUM_GOOD == 1ULL << 8, "rx flags");
_Static_assert(RTE_MBUF_F_TX_TCP_SEG == 1ULL << 50 && RTE_MBUF_F_TX_TCP_CKSUM == 1ULL << 52, "tx flags");
_Static_assert(RTE_MBUF_F_TX_UDP_CKSUM == 3ULL << 52 && RTE_MBUF_F_TX_IP_CKSUM == 1ULL << 54, "tx flags");
_Static_assert(RTE_MBUF_F_TX_IPV4 == 1ULL << 55 && RTE_MBUF_F_TX_IPV6 == 1ULL << 56, "tx flags");
_Static_assert(RTE_MBUF_F_EXTERNAL == 1ULL << 61 && RTE_MBUF_F_INDIRECT == 1ULL << 62, "buffer flags");
_Static_assert(RTE_ETH_RX_OFFLOAD_UDP_CKSUM == 1 << 2 && RTE_ETH_RX_OFFLOAD_TCP_CKSUM == 1 << 3, "rx offloads");
_Static_assert(RTE_ETH_RX_OFFLOAD_TCP_LRO == 1 << 4 && RTE_ETH_RX_OFFLOAD_SCATTER == 1 << 13, "rx offloads");
_Static_assert(RTE_ETH_RX_OFFLOAD_RSS_HASH == 1 << 19, "rx offloads");
_Static_assert(RTE_ETH_TX_OFFLOAD_IPV4_CKSUM == 1 << 1 && RTE_ETH_TX_OFFLOAD_UDP_CKSUM == 1 << 2, "tx offloads");
_Static_assert(RTE_ETH_TX_OFFLOAD_TCP_CKSUM == 1 << 3 && RTE_ETH_TX_OFFLOAD_TCP_TSO == 1 << 5, "tx offloads");
_Static_assert(RTE_ETH_TX_OFFLOAD_MULTI_SEGS == 1 << 15, "tx offloads");
_Static_assert(RTE_IOVA_VA == 2, "iova");

/* The process */

int hayase_errno(void) { return rte_errno; }

static FILE *log_stream;
static char *log_text;
static size_t log_len;

/*
 * From here on, what DPDK logs is kept. One thread at a time, which the caller sees to. The stream is opened once and never
 * closed: threads of DPDK's own may still be writing to it when the log goes its usual way again.
 */
void hayase_log_begin(void)
{
	if (log_stream == NULL)
		log_stream = open_memstream(&log_text, &log_len);
	if (log_stream == NULL)
		return;
	rewind(log_stream);
	rte_openlog_stream(log_stream);
}

/* Copies the end of what was logged, and lets the log go its usual way again. Returns its length. */
size_t hayase_log_end(char *into, size_t into_len)
{
	size_t len = 0;

	if (log_stream == NULL)
		return 0;
	rte_openlog_stream(NULL);
	flockfile(log_stream);
	if (fflush(log_stream) == 0 && log_text != NULL) {
		len = RTE_MIN(log_len, into_len);
		memcpy(into, log_text + log_len - len, len);
	}
	funlockfile(log_stream);
	return len;
}

int hayase_is_lcore(void) { return rte_lcore_id() != LCORE_ID_ANY; }

/* Memory */

struct rte_mbuf *hayase_mbuf_alloc(struct rte_mempool *pool) { return rte_pktmbuf_alloc(pool); }

void hayase_mbuf_free_segment(struct rte_mbuf *m) { rte_pktmbuf_free_seg(m); }

void hayase_mbuf_free(struct rte_mbuf *m) { rte_pktmbuf_free(m); }

void hayase_mbuf_attach(struct rte_mbuf *indirect, struct rte_mbuf *m) { rte_pktmbuf_attach(indirect, m); }

void hayase_mbuf_attach_external(struct rte_mbuf *m, void *addr, uint16_t len, void *shared_info,
				 rte_mbuf_extbuf_free_callback_t release)
{
	struct rte_mbuf_ext_shared_info *shared = shared_info;

	shared->free_cb = release;
	shared->fcb_opaque = m;
	rte_mbuf_ext_refcnt_set(shared, 1);
	rte_pktmbuf_attach_extbuf(m, addr, (rte_iova_t)(uintptr_t)addr, len, shared);
}

/* A pool whose buffers lie next to each other, without gaps for the sake of memory channels. */
struct rte_mempool *hayase_pool_create_dense(const char *name, unsigned int count, unsigned int cache, uint16_t private_len,
					     uint16_t room)
{
	struct rte_pktmbuf_pool_private rooms = { .mbuf_data_room_size = room, .mbuf_priv_size = private_len };
	struct rte_mempool *pool = rte_mempool_create_empty(name, count, sizeof(struct rte_mbuf) + private_len + room, cache,
							    sizeof(rooms), SOCKET_ID_ANY, RTE_MEMPOOL_F_NO_SPREAD);

	if (pool == NULL)
		return NULL;
	if (rte_mempool_set_ops_byname(pool, rte_mbuf_best_mempool_ops(), NULL) != 0) {
		rte_mempool_free(pool);
		return NULL;
	}
	rte_pktmbuf_pool_init(pool, &rooms);
	if (rte_mempool_populate_default(pool) < 0) {
		rte_mempool_free(pool);
		return NULL;
	}
	rte_mempool_obj_iter(pool, rte_pktmbuf_init, NULL);
	return pool;
}

/* Brings the free buffers that this thread keeps at hand back to the pool. */
void hayase_pool_flush(struct rte_mempool *pool)
{
	struct rte_mempool_cache *cache = rte_mempool_default_cache(pool, rte_lcore_id());

	if (cache != NULL)
		rte_mempool_cache_flush(cache, pool);
}

/* Bursts */

uint16_t hayase_rx_burst(uint16_t port, uint16_t queue, struct rte_mbuf **mbufs, uint16_t count)
{
	return rte_eth_rx_burst(port, queue, mbufs, count);
}

uint16_t hayase_tx_prepare(uint16_t port, uint16_t queue, struct rte_mbuf **mbufs, uint16_t count)
{
	return rte_eth_tx_prepare(port, queue, mbufs, count);
}

uint16_t hayase_tx_burst(uint16_t port, uint16_t queue, struct rte_mbuf **mbufs, uint16_t count)
{
	return rte_eth_tx_burst(port, queue, mbufs, count);
}

/* Ports */

struct hayase_port_info {
	const char *driver;
	uint64_t rx_offloads;
	uint64_t tx_offloads;
	uint64_t rss_fields;
	uint32_t lro_len_max;
	uint16_t queues_max;
	uint16_t mtu_max;
	uint16_t fragments_max;
	uint16_t table_len;
	uint16_t key_len;
};

int hayase_port_info(uint16_t port, struct hayase_port_info *info)
{
	struct rte_eth_dev_info of_driver;
	int error = rte_eth_dev_info_get(port, &of_driver);

	if (error != 0)
		return error;
	info->driver = of_driver.driver_name;
	info->rx_offloads = of_driver.rx_offload_capa;
	info->tx_offloads = of_driver.tx_offload_capa;
	info->rss_fields = of_driver.flow_type_rss_offloads;
	info->lro_len_max = of_driver.max_lro_pkt_size;
	info->queues_max = RTE_MIN(of_driver.max_rx_queues, of_driver.max_tx_queues);
	info->mtu_max = of_driver.max_mtu;
	/* Of a super-segment, and of any other frame. 0 is unknown. */
	info->fragments_max = of_driver.tx_desc_lim.nb_seg_max;
	if (of_driver.tx_desc_lim.nb_mtu_seg_max != 0)
		info->fragments_max = RTE_MIN(info->fragments_max, of_driver.tx_desc_lim.nb_mtu_seg_max);
	info->table_len = of_driver.reta_size;
	info->key_len = of_driver.hash_key_size;
	return 0;
}

struct hayase_port_config {
	uint64_t rx_offloads;
	uint64_t tx_offloads;
	uint64_t rss_fields;
	uint8_t *rss_key;
	uint32_t mtu;
	uint32_t lro_len_max;
	uint16_t queues;
	uint8_t rss_key_len;
	uint8_t rx_interrupts;
};

int hayase_port_configure(uint16_t port, const struct hayase_port_config *config)
{
	struct rte_eth_dev_info info;
	struct rte_eth_conf conf;
	int error = rte_eth_dev_info_get(port, &info);

	if (error != 0)
		return error;
	memset(&conf, 0, sizeof(conf));
	conf.rxmode.mtu = config->mtu;
	conf.rxmode.max_lro_pkt_size = config->lro_len_max;
	conf.rxmode.offloads = config->rx_offloads;
	conf.txmode.offloads = config->tx_offloads;
	conf.intr_conf.rxq = config->rx_interrupts;
	/* Where the driver is told of its link, asking for it is a look at memory. */
	conf.intr_conf.lsc = config->rx_interrupts && (*info.dev_flags & RTE_ETH_DEV_INTR_LSC);
	if (config->rss_fields != 0) {
		conf.rxmode.mq_mode = RTE_ETH_MQ_RX_RSS;
		conf.rx_adv_conf.rss_conf.rss_key = config->rss_key;
		conf.rx_adv_conf.rss_conf.rss_key_len = config->rss_key_len;
		conf.rx_adv_conf.rss_conf.rss_hf = config->rss_fields;
	}
	return rte_eth_dev_configure(port, config->queues, config->queues, &conf);
}

/* `free_threshold` is the driver's own choice where it is 0. */
int hayase_queue_setup(uint16_t port, uint16_t queue, struct rte_mempool *pool, uint16_t rx_len, uint16_t tx_len,
		       uint16_t free_threshold)
{
	struct rte_eth_dev_info info;
	struct rte_eth_rxconf rx;
	struct rte_eth_txconf tx;
	int error = rte_eth_dev_info_get(port, &info);

	if (error == 0)
		error = rte_eth_dev_adjust_nb_rx_tx_desc(port, &rx_len, &tx_len);
	if (error != 0)
		return error;
	/* The port's offloads are every queue's. */
	rx = info.default_rxconf;
	rx.offloads = 0;
	tx = info.default_txconf;
	tx.offloads = 0;
	if (free_threshold != 0)
		tx.tx_free_thresh = free_threshold;
	error = rte_eth_rx_queue_setup(port, queue, rx_len, SOCKET_ID_ANY, &rx, pool);
	if (error != 0)
		return error;
	return rte_eth_tx_queue_setup(port, queue, tx_len, SOCKET_ID_ANY, &tx);
}

int hayase_port_link_is_up(uint16_t port)
{
	struct rte_eth_link link;

	memset(&link, 0, sizeof(link));
	return rte_eth_link_get_nowait(port, &link) == 0 && link.link_status == RTE_ETH_LINK_UP;
}

int hayase_port_mac(uint16_t port, uint8_t mac[6])
{
	struct rte_ether_addr addr;
	int error = rte_eth_macaddr_get(port, &addr);

	if (error == 0)
		memcpy(mac, addr.addr_bytes, 6);
	return error;
}

int hayase_port_set_mac(uint16_t port, const uint8_t mac[6])
{
	struct rte_ether_addr addr;

	memcpy(addr.addr_bytes, mac, 6);
	return rte_eth_dev_default_mac_addr_set(port, &addr);
}

/* Frames that the port lost on their way in: for want of a descriptor, for want of a buffer, for an error. */
int hayase_port_losses(uint16_t port, uint64_t losses[3])
{
	struct rte_eth_stats stats;
	int error = rte_eth_stats_get(port, &stats);

	if (error == 0) {
		losses[0] = stats.imissed;
		losses[1] = stats.rx_nombuf;
		losses[2] = stats.ierrors;
	}
	return error;
}

/* Makes entry i of the table name queue i modulo `queues`, and reads table, key and fields back. */
int hayase_port_rss(uint16_t port, uint16_t queues, uint16_t *table, uint16_t table_len, uint8_t *key, uint8_t key_len,
		    uint64_t *fields)
{
	struct rte_eth_rss_reta_entry64 groups[RTE_ETH_RSS_RETA_SIZE_512 / RTE_ETH_RETA_GROUP_SIZE];
	struct rte_eth_rss_conf conf = { .rss_key = key, .rss_key_len = key_len };
	int error;

	if (table_len == 0 || table_len > RTE_ETH_RSS_RETA_SIZE_512)
		return -ENOTSUP;
	memset(groups, 0, sizeof(groups));
	for (uint16_t i = 0; i < table_len; i++) {
		groups[i / RTE_ETH_RETA_GROUP_SIZE].mask |= 1ULL << (i % RTE_ETH_RETA_GROUP_SIZE);
		groups[i / RTE_ETH_RETA_GROUP_SIZE].reta[i % RTE_ETH_RETA_GROUP_SIZE] = i % queues;
	}
	/* A driver whose table is fixed still tells it. */
	rte_eth_dev_rss_reta_update(port, groups, table_len);
	error = rte_eth_dev_rss_reta_query(port, groups, table_len);
	if (error == 0)
		error = rte_eth_dev_rss_hash_conf_get(port, &conf);
	if (error != 0)
		return error;
	for (uint16_t i = 0; i < table_len; i++)
		table[i] = groups[i / RTE_ETH_RETA_GROUP_SIZE].reta[i % RTE_ETH_RETA_GROUP_SIZE];
	*fields = conf.rss_hf;
	return 0;
}

/* Which of IPv4 with TCP, IPv6 with TCP, IPv4 with UDP, IPv6 with UDP the fields hash by port, in four bits. */
uint8_t hayase_rss_ports(uint64_t fields)
{
	return (fields & RTE_ETH_RSS_NONFRAG_IPV4_TCP ? 1 : 0) | (fields & RTE_ETH_RSS_NONFRAG_IPV6_TCP ? 2 : 0) |
	       (fields & RTE_ETH_RSS_NONFRAG_IPV4_UDP ? 4 : 0) | (fields & RTE_ETH_RSS_NONFRAG_IPV6_UDP ? 8 : 0);
}

/* The fields that Hayase can follow: addresses, and the ports of TCP and UDP. */
uint64_t hayase_rss_known_fields(void)
{
	return RTE_ETH_RSS_IPV4 | RTE_ETH_RSS_IPV6 | RTE_ETH_RSS_NONFRAG_IPV4_TCP | RTE_ETH_RSS_NONFRAG_IPV6_TCP |
	       RTE_ETH_RSS_NONFRAG_IPV4_UDP | RTE_ETH_RSS_NONFRAG_IPV6_UDP | RTE_ETH_RSS_FRAG_IPV4 |
	       RTE_ETH_RSS_FRAG_IPV6 | RTE_ETH_RSS_NONFRAG_IPV4_OTHER | RTE_ETH_RSS_NONFRAG_IPV6_OTHER;
}

struct closing {
	uint16_t port;
	sem_t done;
};

/* Closes a stopped port, and gives its device back to its bus, so that it can be opened again. */
static void close_stopped(uint16_t port)
{
	struct rte_eth_dev_info info;
	int known = rte_eth_dev_info_get(port, &info) == 0;

	rte_eth_dev_close(port);
	if (known && info.device != NULL)
		rte_dev_remove(info.device);
}

static void close_later(void *arg)
{
	struct closing *closing = arg;

	close_stopped(closing->port);
	sem_post(&closing->done);
}

static void stop_later(void *arg)
{
	enum { SETTLE_US = 1000 };
	struct closing *closing = arg;

	rte_eth_dev_stop(closing->port);
	if (rte_eal_alarm_set(SETTLE_US, close_later, closing) != 0)
		close_later(closing);
}

/*
 * Stops and closes a port, and removes its device.
 *
 * A virtual device talks with its other end on EAL's interrupt thread, and neither virtio-user nor memif keeps that apart
 * from being closed. So they are closed on that thread; and only after the alarms that virtio-user sets when its host goes
 * away, which it does not take back: a stopped device sets no more.
 */
void hayase_port_close(uint16_t port, int is_virtual)
{
	struct closing closing = { .port = port };

	if (is_virtual && sem_init(&closing.done, 0, 0) == 0) {
		if (rte_eal_alarm_set(1, stop_later, &closing) == 0) {
			while (sem_wait(&closing.done) != 0)
				;
			sem_destroy(&closing.done);
			return;
		}
		sem_destroy(&closing.done);
	}
	rte_eth_dev_stop(port);
	close_stopped(port);
}

/*
 * The packet socket of a queue of net_af_packet, or a negative number. DPDK has no call that tells it, but it is what stands
 * first in the driver's structure of a queue; whether it is what it should be, the kernel says.
 */
int hayase_packet_socket(uint16_t port, uint16_t queue)
{
	struct rte_eth_dev_info info;
	struct sockaddr_ll bound;
	socklen_t len = sizeof(bound);
	int fd;

	if (rte_eth_dev_info_get(port, &info) != 0 || queue >= info.nb_rx_queues)
		return -1;
	fd = *(const int *)rte_eth_fp_ops[port].rxq.data[queue];
	if (getsockname(fd, (struct sockaddr *)&bound, &len) != 0 || bound.sll_family != AF_PACKET ||
	    bound.sll_ifindex != (int)info.if_index)
		return -1;
	return fd;
}

/* The features that the guest of a net_vhost port has agreed to, or 0 if there is no guest. */
uint64_t hayase_vhost_features(uint16_t port)
{
	uint64_t features = 0;
	int vid = rte_eth_vhost_get_vid_from_port_id(port);

	if (vid < 0 || rte_vhost_get_negotiated_features(vid, &features) != 0)
		return 0;
	return features;
}

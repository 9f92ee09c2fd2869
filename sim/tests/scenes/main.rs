//! Named scenes: what happens between two hosts over time, each with hundreds of seeds.
#![forbid(unsafe_code)]

mod bandwidth;
mod blackout;
mod buffers;
mod churn;
mod common;
mod congestion;
mod corruption;
mod crowd;
mod datagrams;
mod dry_pool;
mod duplication;
mod ecn;
mod fairness;
mod fastopen;
mod flood;
mod frto;
mod half_open;
mod icmp;
mod keepalive;
mod latency;
mod link_use;
mod loss;
mod memory;
mod mtu;
mod one_way;
mod pacing;
mod reboot;
mod reordering;
mod slow_reader;
mod time_wait;
mod user_timeout;

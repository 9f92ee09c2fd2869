//! Which hosts there are, and how they are joined.

use crate::link::Link;

/// What a cable ends at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Node {
    /// The host of this number.
    Host(usize),
    /// The switch of this number.
    Switch(usize),
}

/// A cable: two nodes and the links between them.
#[derive(Debug, Clone, PartialEq)]
pub struct Wiring {
    /// Its first end.
    pub from: Node,
    /// Its second end.
    pub to: Node,
    /// From the first to the second.
    pub forth: Link,
    /// From the second to the first.
    pub back: Link,
}

/// Hosts, switches and the cables between them: one Ethernet segment, without loops.
///
/// Host number i has the addresses 10.7.0.(i + 1)/16, from 10.7.1.0 on after 255 of them, and fd00:7::(i + 1)/64. Switches learn where addresses are, as
/// Ethernet's do.
#[derive(Debug, Clone, PartialEq)]
pub struct Topology {
    pub(crate) hosts: usize,
    pub(crate) switches: usize,
    pub(crate) cables: Vec<Wiring>,
}

/// 10.7.0.0/16 has room for more, but nobody simulates so many.
const HOSTS_MAX: usize = 10_000;

impl Topology {
    /// Hosts and switches that nothing joins yet.
    ///
    /// # Panics
    /// If there is no host, or there are more than 10,000.
    #[must_use]
    pub fn new(hosts: usize, switches: usize) -> Topology {
        assert!((1..=HOSTS_MAX).contains(&hosts), "a network has 1 to {HOSTS_MAX} hosts, not {hosts}");
        Topology { hosts, switches, cables: Vec::new() }
    }

    /// Joins two nodes. Cables are numbered in the order of these calls.
    ///
    /// # Panics
    /// If there is no such node.
    #[must_use]
    pub fn cable(mut self, from: Node, to: Node, forth: Link, back: Link) -> Topology {
        for node in [from, to] {
            let exists = match node {
                Node::Host(index) => index < self.hosts,
                Node::Switch(index) => index < self.switches,
            };
            assert!(exists, "there is no {node:?}");
        }
        self.cables.push(Wiring { from, to, forth, back });
        self
    }

    /// A client and a server, and one cable: client to server is its way forth.
    #[must_use]
    pub fn pair(link: Link) -> Topology {
        Topology::asymmetric_pair(link.clone(), link)
    }

    /// As [`pair`](Self::pair), with another link back.
    #[must_use]
    pub fn asymmetric_pair(forth: Link, back: Link) -> Topology {
        Topology::new(2, 0).cable(Node::Host(0), Node::Host(1), forth, back)
    }

    /// Hosts around a switch. Cable i is the one of host i; its way forth leads to the switch.
    #[must_use]
    pub fn star(hosts: usize, link: &Link) -> Topology {
        (0..hosts).fold(Topology::new(hosts, 1), |topology, host| {
            topology.cable(Node::Host(host), Node::Switch(0), link.clone(), link.clone())
        })
    }

    /// Clients at one switch, servers at another, and a bottleneck between the switches, which is cable 0; its way
    /// forth leads from the clients to the servers. Clients come first.
    #[must_use]
    pub fn dumbbell(clients: usize, servers: usize, access: &Link, bottleneck: &Link) -> Topology {
        let empty = Topology::new(clients + servers, 2);
        let middle = empty.cable(Node::Switch(0), Node::Switch(1), bottleneck.clone(), bottleneck.clone());
        (0..clients + servers).fold(middle, |topology, host| {
            let switch = Node::Switch(usize::from(host >= clients));
            topology.cable(Node::Host(host), switch, access.clone(), access.clone())
        })
    }

    /// What is wrong with it, if anything is.
    pub(crate) fn check(&self) -> Result<(), String> {
        self.cables.iter().flat_map(|wiring| [&wiring.forth, &wiring.back]).try_for_each(Link::check)?;
        for host in 0..self.hosts {
            let ends = |wiring: &&Wiring| [wiring.from, wiring.to].contains(&Node::Host(host));
            let count = self.cables.iter().filter(ends).count();
            if count != 1 {
                return Err(format!("host {host} has {count} cables, and must have one"));
            }
        }
        // A forest has as many trees as nodes that no cable joined; one tree has one cable fewer than nodes.
        let mut tree: Vec<usize> = (0..self.hosts + self.switches).collect();
        for wiring in &self.cables {
            let (a, b) = (tree[self.number(wiring.from)], tree[self.number(wiring.to)]);
            if a == b {
                return Err(format!("a loop: {:?} to {:?}", wiring.from, wiring.to));
            }
            tree.iter_mut().filter(|root| **root == b).for_each(|root| *root = a);
        }
        Ok(())
    }

    fn number(&self, node: Node) -> usize {
        match node {
            Node::Host(index) => index,
            Node::Switch(index) => self.hosts + index,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ready_made_ones_are_sound() {
        let link = Link::default();
        for topology in
            [Topology::pair(link.clone()), Topology::star(5, &link), Topology::dumbbell(3, 2, &link, &link)]
        {
            assert_eq!(topology.check(), Ok(()));
        }
        assert_eq!(Topology::dumbbell(3, 2, &link, &link).cables[0].to, Node::Switch(1));
    }

    #[test]
    fn loops_and_lonely_hosts_are_named() {
        let link = Link::default;
        let (a, b) = (Node::Switch(0), Node::Switch(1));
        let looped = Topology::new(1, 2)
            .cable(Node::Host(0), a, link(), link())
            .cable(a, b, link(), link())
            .cable(b, a, link(), link());
        assert!(looped.check().unwrap_err().contains("loop"));
        assert!(Topology::new(2, 0).check().unwrap_err().contains("host 0 has 0 cables"));
        let stopped = Topology::pair(Link { rate: Some(0), ..link() });
        assert!(stopped.check().unwrap_err().contains("say `cut`"));
    }
}

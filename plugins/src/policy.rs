//! What an attempt may reach: which addresses, which folders. The service sets it; an author can't.
//!
//! The default is that of a single node that serves one team: loopback and private networks are open, what no
//! task has business with (link-local, cloud metadata, multicast) is closed. [`Policy::shared`] is the stricter
//! one for installations with many tenants.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::PathBuf,
    str::FromStr,
};

use serde::{Deserialize, Serialize};

/// What an attempt may reach.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Policy {
    /// Whether `http` without TLS is allowed.
    pub plain_http: bool,
    /// Whether the machine's own addresses may be reached.
    pub loopback: bool,
    /// Whether private ranges (RFC 1918, unique local, carrier-grade NAT) may be reached.
    pub private: bool,
    /// Networks that are closed, whatever else is open: the service's own listeners, database and broker.
    pub deny: Vec<Network>,
    /// Networks that a platform admin opened, for some ports or all.
    pub allow: Vec<Opening>,
    /// Folders beside the attempt's own and the bundle where SQLite databases may lie.
    pub data_dirs: Vec<PathBuf>,
    /// The program `updraft-script`; beside the executable that asks if absent.
    pub script_program: Option<PathBuf>,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            plain_http: true,
            loopback: true,
            private: true,
            deny: Vec::new(),
            allow: Vec::new(),
            data_dirs: Vec::new(),
            script_program: None,
        }
    }
}

/// A network that is open although it would be closed by default.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Opening {
    /// Which addresses.
    pub network: Network,
    /// Which ports; all if empty.
    #[serde(default)]
    pub ports: Vec<u16>,
}

impl Policy {
    /// The policy of an installation with many tenants: TLS only, loopback and private ranges closed.
    pub fn shared() -> Self {
        Self { plain_http: false, loopback: false, private: false, ..Self::default() }
    }

    /// Whether a connection to this address and port is allowed.
    pub fn permits(&self, address: IpAddr, port: u16) -> bool {
        let address = unwrap_embedded(address);
        if never(address) || self.deny.iter().any(|net| net.contains(address)) {
            return false;
        }
        let opened =
            |o: &Opening| o.network.contains(address) && (o.ports.is_empty() || o.ports.contains(&port));
        if self.allow.iter().any(opened) {
            return true;
        }
        (self.loopback || !address.is_loopback()) && (self.private || !private(address))
    }
}

/// An IPv6 address that only carries an IPv4 one (mapped, NAT64, 6to4) is judged as the IPv4 one.
fn unwrap_embedded(address: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = address else { return address };
    let s = v6.segments();
    let v4 = |high: u16, low: u16| IpAddr::V4(Ipv4Addr::from(u32::from(high) << 16 | u32::from(low)));
    match s {
        [0, 0, 0, 0, 0, 0xffff, high, low]
        | [0x64, 0xff9b, 0, 0, 0, 0, high, low]
        | [0x2002, high, low, ..] => v4(high, low),
        [0x64, 0xff9b, 1, ..] => v4(s[6], s[7]),
        _ => address,
    }
}

/// Addresses that no task has business with.
fn never(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            v4.octets()[0] == 0
                || v4.is_link_local()
                || v4.is_multicast()
                || v4.octets()[0] >= 240
                || v4 == Ipv4Addr::new(100, 100, 100, 200)
                || v4 == Ipv4Addr::new(168, 63, 129, 16)
        }
        IpAddr::V6(v6) => {
            let deprecated_v4 = v6.segments()[..6] == [0; 6] && !v6.is_loopback();
            v6.is_unspecified()
                || v6.is_multicast()
                || v6.is_unicast_link_local()
                || deprecated_v4
                || v6 == Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)
        }
    }
}

fn private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            let [a, b, ..] = v4.octets();
            v4.is_private() || (a == 100 && (64..128).contains(&b)) || (a == 198 && (b == 18 || b == 19))
        }
        IpAddr::V6(v6) => v6.is_unique_local(),
    }
}

/// A network in CIDR form, `10.0.0.0/8` or `fd00::/8`; a bare address is a network of one.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

/// A text that isn't a network in CIDR form.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a network: write `10.0.0.0/8`, `fd00::/8` or an address")]
pub struct InvalidNetwork(String);

impl Network {
    /// Whether the address lies in the network.
    pub fn contains(&self, address: IpAddr) -> bool {
        let prefix = u32::from(self.prefix);
        match (self.address, address) {
            (IpAddr::V4(net), IpAddr::V4(address)) => {
                let mask = u32::MAX.checked_shl(32 - prefix).unwrap_or(0);
                u32::from(net) & mask == u32::from(address) & mask
            }
            (IpAddr::V6(net), IpAddr::V6(address)) => {
                let mask = u128::MAX.checked_shl(128 - prefix).unwrap_or(0);
                u128::from(net) & mask == u128::from(address) & mask
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }
}

impl FromStr for Network {
    type Err = InvalidNetwork;
    fn from_str(text: &str) -> Result<Self, InvalidNetwork> {
        let error = || InvalidNetwork(text.to_owned());
        let (address, prefix) = text.split_once('/').map_or((text, None), |(a, p)| (a, Some(p)));
        let address: IpAddr = address.parse().map_err(|_| error())?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let prefix = prefix.map_or(Ok(most), str::parse).map_err(|_| error())?;
        if prefix > most { Err(error()) } else { Ok(Self { address, prefix }) }
    }
}

impl TryFrom<String> for Network {
    type Error = InvalidNetwork;
    fn try_from(text: String) -> Result<Self, InvalidNetwork> {
        text.parse()
    }
}

impl From<Network> for String {
    fn from(network: Network) -> Self {
        network.to_string()
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

impl fmt::Debug for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn permits(policy: &Policy, address: &str) -> bool {
        policy.permits(address.parse().unwrap(), 443)
    }

    #[test]
    fn what_no_task_has_business_with_is_closed_for_all() {
        for policy in [Policy::default(), Policy::shared()] {
            for address in [
                "169.254.169.254",
                "::ffff:169.254.169.254",
                "64:ff9b::a9fe:a9fe",
                "2002:a9fe:a9fe::1",
                "fd00:ec2::254",
                "fe80::1",
                "0.0.0.0",
                "::",
                "224.0.0.1",
                "ff02::1",
                "255.255.255.255",
                "100.100.100.200",
                "::a9fe:a9fe",
            ] {
                assert!(!permits(&policy, address), "{address} under {policy:?}");
            }
            assert!(permits(&policy, "93.184.216.34"));
            assert!(permits(&policy, "2606:2800:220:1::1"));
        }
    }

    #[test]
    fn the_shared_policy_closes_loopback_and_private_ranges() {
        let closed = [
            "127.0.0.1",
            "127.8.8.8",
            "::1",
            "::ffff:127.0.0.1",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "fd12::1",
            "100.64.0.1",
        ];
        for address in closed {
            assert!(!permits(&Policy::shared(), address), "{address}");
            assert!(permits(&Policy::default(), address), "{address}");
        }
    }

    #[test]
    fn an_opening_is_for_its_ports_and_a_denial_wins() {
        let mut policy = Policy::shared();
        policy.allow.push(Opening { network: "10.0.0.0/8".parse().unwrap(), ports: vec![5432] });
        policy.deny.push("10.9.0.0/16".parse().unwrap());
        assert!(policy.permits("10.1.2.3".parse().unwrap(), 5432));
        assert!(!policy.permits("10.1.2.3".parse().unwrap(), 443));
        assert!(!policy.permits("10.9.2.3".parse().unwrap(), 5432));
    }

    #[test]
    fn networks_read_and_print_cidr() {
        assert_eq!("10.0.0.0/8".parse::<Network>().unwrap().to_string(), "10.0.0.0/8");
        assert_eq!("::1".parse::<Network>().unwrap().to_string(), "::1/128");
        assert!("0.0.0.0/0".parse::<Network>().unwrap().contains("9.9.9.9".parse().unwrap()));
        for bad in ["", "10/8", "10.0.0.0/33", "::/129", "10.0.0.0/-1"] {
            assert!(bad.parse::<Network>().is_err(), "{bad}");
        }
    }
}

//! Where nothing in a cluster may lead us: loopback, link-local, unspecified and metadata addresses, and where the
//! configuration says so private ones too.
//!
//! A name is checked when its addresses are taken for the connection itself, so an answer that changes between a check
//! and the connection gains nothing. An address written into a URL is checked before the request.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Which addresses are not connected to, where the configuration does not name their host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Guard {
    /// Those of this machine and of metadata services.
    pub(super) local: bool,
    /// Those of private networks.
    pub(super) private: bool,
}

/// An address that is not connected to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Forbidden {
    #[error("a loopback, link-local or metadata address")]
    Local,
    #[error("a private address (`privateAddresses: deny`)")]
    Private,
}

impl Guard {
    /// Why an address is not connected to.
    pub(super) fn forbids(self, ip: IpAddr) -> Option<Forbidden> {
        if self.local && is_forbidden(ip) {
            return Some(Forbidden::Local);
        }
        (self.private && is_private(ip)).then_some(Forbidden::Private)
    }

    /// The same of a URL that names an address itself.
    pub(super) fn forbids_literal(self, url: &url::Url) -> Option<Forbidden> {
        match url.host() {
            Some(url::Host::Ipv4(v4)) => self.forbids(v4.into()),
            Some(url::Host::Ipv6(v6)) => self.forbids(v6.into()),
            _ => None,
        }
    }
}

/// Whether a URL names this machine: where Docker speaks plain HTTP.
pub(super) fn is_loopback(url: &url::Url) -> bool {
    match url.host() {
        Some(url::Host::Ipv4(v4)) => v4.is_loopback(),
        Some(url::Host::Ipv6(v6)) => v6.is_loopback(),
        Some(url::Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

/// Whether an address is one that nothing in a cluster may lead us to.
fn is_forbidden(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => is_forbidden_v4(v4),
        IpAddr::V6(v6) => is_forbidden_v6(v6) || embedded(v6).is_some_and(is_forbidden_v4),
    }
}

/// Metadata services outside the link-local range: Alibaba, Oracle (old), Azure's wire server.
const METADATA_V4: [Ipv4Addr; 3] =
    [Ipv4Addr::new(100, 100, 100, 200), Ipv4Addr::new(192, 0, 0, 192), Ipv4Addr::new(168, 63, 129, 16)];

/// Metadata services on IPv6: AWS, Google.
const METADATA_V6: [Ipv6Addr; 2] =
    [Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254), Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254)];

fn is_forbidden_v4(v4: Ipv4Addr) -> bool {
    // All of 0.0.0.0/8 means "this host".
    v4.octets()[0] == 0
        || v4.is_loopback()
        || v4.is_link_local()
        || v4.is_multicast()
        || v4.is_broadcast()
        || METADATA_V4.contains(&v4)
}

fn is_forbidden_v6(v6: Ipv6Addr) -> bool {
    v6.is_loopback()
        || v6.is_unspecified()
        || v6.is_unicast_link_local()
        || v6.is_multicast()
        || METADATA_V6.contains(&v6)
        // 64:ff9b:1::/48 is translated as the local network has it (RFC 8215), so it may lead anywhere.
        || v6.segments()[..3] == [0x64, 0xff9b, 1]
}

/// Private networks (RFC 1918, RFC 4193), shared and benchmarking ones (RFC 6598, RFC 2544), and IPv6's old site-local.
fn is_private(ip: IpAddr) -> bool {
    let v4 = |v4: Ipv4Addr| {
        let [a, b, ..] = v4.octets();
        v4.is_private() || (a == 100 && b & 0xc0 == 64) || (a == 198 && b & 0xfe == 18)
    };
    match ip {
        IpAddr::V4(ip) => v4(ip),
        IpAddr::V6(ip) => ip.is_unique_local() || ip.segments()[0] & 0xffc0 == 0xfec0 || embedded(ip).is_some_and(v4),
    }
}

/// The IPv4 address inside a mapped, compatible, translated (NAT64) or 6to4 address.
fn embedded(v6: Ipv6Addr) -> Option<Ipv4Addr> {
    let [a, b, c, d, e, f, g, h] = v6.segments();
    let v4 = |high: u16, low: u16| Ipv4Addr::from((u32::from(high) << 16) | u32::from(low));
    match (a, b, c, d, e, f) {
        (0, 0, 0, 0, 0, 0 | 0xffff) | (0, 0, 0, 0, 0xffff, 0) | (0x64, 0xff9b, 0, 0, 0, 0) => Some(v4(g, h)),
        (0x2002, ..) => Some(v4(b, c)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[rstest::rstest]
    #[case("127.0.0.1")]
    #[case("127.8.9.1")]
    #[case("0.0.0.0")]
    #[case("0.1.2.3")]
    #[case("169.254.169.254")]
    #[case("169.254.1.1")]
    #[case("100.100.100.200")]
    #[case("255.255.255.255")]
    #[case("::")]
    #[case("::1")]
    #[case("fe80::1")]
    #[case("febf::1")]
    #[case("fd00:ec2::254")]
    #[case("::ffff:127.0.0.1")]
    #[case("::ffff:169.254.169.254")]
    #[case("::127.0.0.1")]
    #[case("::ffff:0:127.0.0.1")]
    #[case("64:ff9b::a9fe:a9fe")]
    #[case("2002:7f00:1::")]
    #[case("64:ff9b:1::a9fe:a9fe")]
    #[case("64:ff9b:1:a9fe:a9:fe00::")]
    fn an_address_of_this_machine_or_of_metadata_is_forbidden(#[case] ip: IpAddr) {
        assert_eq!(Guard { local: true, private: false }.forbids(ip), Some(Forbidden::Local));
        assert_eq!(Guard { local: false, private: false }.forbids(ip), None);
    }

    #[rstest::rstest]
    #[case("10.0.0.1")]
    #[case("192.168.1.1")]
    #[case("172.16.0.1")]
    #[case("140.82.112.33")]
    #[case("fd12:3456::1")]
    #[case("2606:4700::1")]
    #[case("::ffff:10.0.0.1")]
    #[case("64:ff9b::a00:1")]
    #[case("64:ff9b:2::a00:1")]
    fn other_addresses_are_allowed_private_ones_too(#[case] ip: IpAddr) {
        assert_eq!(Guard { local: true, private: false }.forbids(ip), None);
    }

    #[rstest::rstest]
    #[case("10.0.0.1", true)]
    #[case("172.31.255.255", true)]
    #[case("192.168.1.1", true)]
    #[case("100.64.0.1", true)]
    #[case("100.127.1.1", true)]
    #[case("198.19.0.1", true)]
    #[case("fd12:3456::1", true)]
    #[case("fec0::1", true)]
    #[case("::ffff:10.0.0.1", true)]
    #[case("64:ff9b::a00:1", true)]
    #[case("2002:a00:1::", true)]
    #[case("172.32.0.1", false)]
    #[case("100.128.0.1", false)]
    #[case("198.20.0.1", false)]
    #[case("140.82.112.33", false)]
    #[case("2606:4700::1", false)]
    fn a_private_address_is_forbidden_where_the_configuration_says_so(#[case] ip: IpAddr, #[case] private: bool) {
        let expected = private.then_some(Forbidden::Private);
        assert_eq!(Guard { local: true, private: true }.forbids(ip), expected);
        assert_eq!(Guard { local: false, private: true }.forbids(ip), expected);
    }

    #[rstest::rstest]
    #[case("http://2130706433/")]
    #[case("http://0x7f.1/")]
    #[case("https://[::ffff:7f00:1]:5000/v2/")]
    #[case("https://169.254.169.254/latest")]
    fn every_spelling_of_an_address_is_seen_through(#[case] url: &str) {
        let guard = Guard { local: true, private: false };
        assert_eq!(guard.forbids_literal(&url::Url::parse(url).unwrap()), Some(Forbidden::Local));
    }
}

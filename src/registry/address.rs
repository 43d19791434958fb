//! Where nothing in a cluster may lead us: loopback, link-local, unspecified and metadata addresses.
//!
//! A name is checked when it is resolved for the connection itself, so an answer that changes between a check
//! and the connection gains nothing. An address written into a URL is checked before the request.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};

/// An address that is not connected to.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("a loopback, link-local or metadata address")]
pub(super) struct Forbidden;

/// Resolves names for connections and leaves out forbidden addresses.
#[derive(Debug, Clone, Copy)]
pub(super) struct GuardedResolver;

impl Resolve for GuardedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            let allowed: Vec<SocketAddr> = found.iter().copied().filter(|a| !is_forbidden(a.ip())).collect();
            if allowed.is_empty() && !found.is_empty() {
                return Err(Forbidden.into());
            }
            Ok(Box::new(allowed.into_iter()) as Addrs)
        })
    }
}

/// Whether a URL names such an address itself.
pub(super) fn is_forbidden_literal(url: &url::Url) -> bool {
    match url.host() {
        Some(url::Host::Ipv4(v4)) => is_forbidden(v4.into()),
        Some(url::Host::Ipv6(v6)) => is_forbidden(v6.into()),
        _ => false,
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
pub(super) fn is_forbidden(ip: IpAddr) -> bool {
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
    fn an_address_of_this_machine_or_of_metadata_is_forbidden(#[case] ip: IpAddr) {
        assert!(is_forbidden(ip));
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
    fn other_addresses_are_allowed_private_ones_too(#[case] ip: IpAddr) {
        assert!(!is_forbidden(ip));
    }

    #[rstest::rstest]
    #[case("http://2130706433/")]
    #[case("http://0x7f.1/")]
    #[case("https://[::ffff:7f00:1]:5000/v2/")]
    #[case("https://169.254.169.254/latest")]
    fn every_spelling_of_an_address_is_seen_through(#[case] url: &str) {
        assert!(is_forbidden_literal(&url::Url::parse(url).unwrap()));
    }
}

//! Who can read along where the endpoint is `http://`.

use std::net::{IpAddr, Ipv6Addr};

/// The host of an endpoint that is reached without TLS.
pub(crate) fn plain_http_host(endpoint: &str) -> Option<&str> {
    let scheme = endpoint.get(..7)?;
    if !scheme.eq_ignore_ascii_case("http://") {
        return None;
    }
    let authority = endpoint[7..].split(['/', '?', '#']).next()?;
    let authority = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    if let Some(bracketed) = authority.strip_prefix('[') {
        return bracketed.split(']').next();
    }
    Some(authority.rsplit_once(':').map_or(authority, |(host, _)| host))
}

/// Whether requests to that host never leave the machine.
#[cfg_attr(
    not(any(feature = "s3", test)),
    expect(dead_code, reason = "asked when a bucket is opened")
)]
pub(crate) fn is_loopback(host: &str) -> bool {
    match host.parse::<IpAddr>() {
        Ok(address) => address.to_canonical().is_loopback(),
        Err(_) => host.eq_ignore_ascii_case("localhost"),
    }
}

/// Whether recordings would cross networks of others in clear: `http://` to an address that is neither this
/// machine's nor a private one. A name says little; those that only a private network knows are told by it.
pub fn is_open_to_strangers(endpoint: &str) -> bool {
    plain_http_host(endpoint).is_some_and(|host| !is_private(host))
}

fn is_private(host: &str) -> bool {
    match host.parse::<IpAddr>().map(|address| address.to_canonical()) {
        Ok(IpAddr::V4(address)) => {
            // 100.64.0.0/10 is what VPNs and carriers use among themselves.
            let is_shared = address.octets()[0] == 100 && address.octets()[1] & 0xc0 == 0x40;
            address.is_loopback() || address.is_private() || address.is_link_local() || is_shared
        }
        Ok(IpAddr::V6(address)) => is_private_v6(address),
        Err(_) => {
            let host = host.trim_end_matches('.').to_ascii_lowercase();
            let last = host.rsplit('.').next().unwrap_or_default();
            !host.contains('.')
                || ["localhost", "local", "lan", "internal", "intranet", "home", "test"]
                    .contains(&last)
                || host.ends_with(".home.arpa")
        }
    }
}

fn is_private_v6(address: Ipv6Addr) -> bool {
    address.is_loopback() || address.is_unique_local() || address.is_unicast_link_local()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_https_and_hosts_that_are_near_are_safe_from_strangers() {
        for local in [
            "https://s3.amazonaws.com",
            "http://127.0.0.1:9000",
            "http://[::1]:9000",
            "http://localhost:9000/",
            "http://minio:9000",
            "http://minio.lan:9000",
            "http://10.1.2.3",
            "http://192.168.1.9:3900",
            "http://172.31.0.1",
            "http://100.64.0.9",
            "http://[fd00::1]:9000",
            "http://[::ffff:10.0.0.1]",
            "http://s3.home.arpa",
        ] {
            assert!(!is_open_to_strangers(local), "{local}");
        }
        for remote in [
            "http://s3.example.com",
            "HTTP://s3.example.com",
            "http://8.8.8.8:9000",
            "http://172.32.0.1",
            "http://[2001:db8::1]:9000",
            "http://[::ffff:8.8.8.8]",
            "http://localhost@evil.example",
            "http://localhost.example.com",
        ] {
            assert!(is_open_to_strangers(remote), "{remote}");
        }
    }

    #[test]
    fn the_loopback_is_told_from_what_only_looks_like_it() {
        for (endpoint, expected) in [
            ("http://127.0.0.1:9000", true),
            ("http://127.9.9.9", true),
            ("http://[::1]", true),
            ("http://LOCALHOST:1", true),
            ("http://localhost.example.com", false),
            ("http://127.0.0.1@example.com", false),
            ("http://127.0.0.1.example.com", false),
            ("http://192.168.1.1", false),
        ] {
            assert_eq!(plain_http_host(endpoint).map(is_loopback), Some(expected), "{endpoint}");
        }
        assert_eq!(plain_http_host("https://127.0.0.1"), None);
    }
}

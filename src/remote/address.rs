//! Where an engine is.

use crate::error::{Error, Kind, Result};

/// The parts of `grpc[s]://HOST[:PORT][/INSTANCE]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Address {
    pub(super) tls: bool,
    /// A name or an address; one of IPv6 without its brackets.
    pub(super) host: String,
    pub(super) port: u16,
    /// Which of the engine's caches; mostly empty.
    pub(super) instance: String,
}

impl Address {
    /// Reads `url`.
    ///
    /// # Errors
    /// When it is not of that form. A URL with a name and a password is not shown.
    pub(super) fn parse(url: &str) -> Result<Address> {
        let wrong = |shown: &str, reason: &str| {
            Error::new(
                Kind::Environment,
                format!("cannot use the engine `{shown}`"),
            )
            .because(reason)
            .hint("write grpc://HOST[:PORT][/INSTANCE], or grpcs:// for TLS")
        };
        let (scheme, rest) = url
            .split_once("://")
            .ok_or_else(|| wrong(url, "it has no scheme"))?;
        let (place, instance) = rest.split_once('/').unwrap_or((rest, ""));
        if place.contains('@') {
            let shown = format!("{scheme}://…");
            return Err(wrong(&shown, "names and passwords belong into a header"));
        }
        let tls = match scheme {
            "grpc" | "http" => false,
            "grpcs" | "https" => true,
            _ => return Err(wrong(url, "its scheme is neither grpc nor grpcs")),
        };
        let (host, port) = split_port(place).ok_or_else(|| wrong(url, "its port is no number"))?;
        if host.is_empty() {
            return Err(wrong(url, "it has no host"));
        }
        Ok(Address {
            tls,
            host: host.to_owned(),
            port: port.unwrap_or(if tls { 443 } else { 80 }),
            instance: instance.trim_end_matches('/').to_owned(),
        })
    }

    /// The address as an HTTP client wants it, without the instance.
    #[cfg(feature = "remote")]
    pub(super) fn origin(&self) -> String {
        let scheme = if self.tls { "https" } else { "http" };
        match self.host.contains(':') {
            true => format!("{scheme}://[{}]:{}", self.host, self.port),
            false => format!("{scheme}://{}:{}", self.host, self.port),
        }
    }
}

/// Host and port of `place`; `None` when what stands for the port is none.
fn split_port(place: &str) -> Option<(&str, Option<u16>)> {
    let (host, rest) = match place.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?,
        None => match place.find(':') {
            Some(at) => place.split_at(at),
            None => (place, ""),
        },
    };
    match rest.strip_prefix(':') {
        Some(port) => Some((host, Some(port.parse().ok()?))),
        None => rest.is_empty().then_some((host, None)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_out_has_a_meaning() {
        let of = |url| {
            let address = Address::parse(url).expect("an address");
            (address.tls, address.host, address.port, address.instance)
        };
        let expected = |tls, host: &str, port, instance: &str| {
            (tls, host.to_owned(), port, instance.to_owned())
        };
        assert_eq!(of("grpc://h"), expected(false, "h", 80, ""));
        assert_eq!(of("grpcs://h/"), expected(true, "h", 443, ""));
        assert_eq!(of("grpc://h:1/a/b"), expected(false, "h", 1, "a/b"));
        assert_eq!(of("https://[::1]:2/x"), expected(true, "::1", 2, "x"));
        assert_eq!(of("grpc://[::1]"), expected(false, "::1", 80, ""));
    }

    #[test]
    fn what_makes_no_sense_is_refused_and_secrets_are_not_shown() {
        for (url, reason) in [
            ("h:1", "it has no scheme"),
            ("ftp://h", "neither grpc nor grpcs"),
            ("grpc://", "it has no host"),
            ("grpc://:1", "it has no host"),
            ("grpc://h:x", "its port is no number"),
            ("grpc://h:99999", "its port is no number"),
            ("grpc://[::1]x", "its port is no number"),
            ("grpc://me:hush@h", "belong into a header"),
        ] {
            let error = Address::parse(url).expect_err(url).to_string();
            assert!(error.contains(reason), "{error}");
            assert!(!error.contains("hush"), "{error}");
        }
    }
}

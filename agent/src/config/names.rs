//! Values that name something: paths, globs, hosts, services, addresses. Enters: text. Leaves: names that can be used as they
//! are. Nothing here looks whether what is named exists.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    path::{Component, Path, PathBuf},
    str::FromStr as _,
};

use globset::{Glob, GlobBuilder, GlobMatcher};

use super::leaf::{Leaf, leaf, leaf_text};
use crate::rules::vendors::HostPattern;

/// Longest name of a service that is taken.
const NAME_BYTES_MAX: usize = 256;

/// A path from the root: the agent has no folder of its own that another could be relative to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AbsolutePath(PathBuf);

impl AbsolutePath {
    /// The path.
    pub fn get(&self) -> &Path {
        &self.0
    }

    /// A path that the agent itself found; `None` when it is relative or no text.
    pub fn from_found(path: PathBuf) -> Option<Self> {
        (path.is_absolute() && path.to_str().is_some()).then_some(Self(path))
    }
}

impl fmt::Display for AbsolutePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.display().fmt(f)
    }
}

impl Leaf for AbsolutePath {
    fn form() -> String {
        "an absolute path".to_owned()
    }

    fn parse(text: &str) -> Result<Self, Option<String>> {
        absolute(text)?;
        Ok(Self(PathBuf::from(text)))
    }
}

leaf!(AbsolutePath);

fn absolute(text: &str) -> Result<(), Option<String>> {
    let path = Path::new(text);
    if text.is_empty() {
        return Err(Some("is empty".to_owned()));
    }
    if text.contains('\0') {
        return Err(Some("holds a zero byte".to_owned()));
    }
    if !path.is_absolute() {
        return Err(Some("is relative, and a service has no folder to start from".to_owned()));
    }
    if path.components().any(|part| part == Component::ParentDir) {
        return Err(Some("goes up with `..`".to_owned()));
    }
    Ok(())
}

/// A pattern for paths: `*` and `?` stay within a folder, `**` goes through folders, `[a-z]` chooses.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PathGlob(Glob);

impl PathGlob {
    /// As it was written.
    pub fn as_str(&self) -> &str {
        self.0.glob()
    }

    /// The compiled glob.
    pub fn glob(&self) -> &Glob {
        &self.0
    }
}

impl fmt::Display for PathGlob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Leaf for PathGlob {
    fn form() -> String {
        "an absolute path in which `*`, `?`, `**` and `[a-z]` may stand, such as \"/var/log/*.log\"".to_owned()
    }

    fn parse(text: &str) -> Result<Self, Option<String>> {
        absolute(text)?;
        if text.contains(['{', '}']) {
            return Err(Some(
                "holds braces, which are not understood in paths: give a pattern for each choice".to_owned(),
            ));
        }
        // The tail expands patterns with this crate, the other matches what is left out: both must take it.
        glob::Pattern::new(text).map_err(|error| Some(format!("is no pattern: {}", error.msg)))?;
        glob(text, true).map(Self)
    }
}

leaf!(PathGlob);

/// A pattern for the name of a service or program: `*` stands for any text.
#[derive(Clone, Debug)]
pub struct NameGlob {
    glob: Glob,
    matcher: GlobMatcher,
}

impl NameGlob {
    /// As it was written.
    pub fn as_str(&self) -> &str {
        self.glob.glob()
    }

    /// The compiled glob.
    pub fn matcher(&self) -> &GlobMatcher {
        &self.matcher
    }

    /// Is this name meant?
    pub fn matches(&self, name: &str) -> bool {
        self.matcher.is_match(name)
    }
}

impl PartialEq for NameGlob {
    fn eq(&self, other: &Self) -> bool {
        self.glob == other.glob
    }
}

impl Eq for NameGlob {}

impl fmt::Display for NameGlob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Leaf for NameGlob {
    fn form() -> String {
        "a name in which `*`, `?`, `[a-z]` and `{a,b}` may stand, such as \"checkout-*\"".to_owned()
    }

    fn parse(text: &str) -> Result<Self, Option<String>> {
        named(text)?;
        let glob = glob(text, false)?;
        Ok(Self { matcher: glob.compile_matcher(), glob })
    }
}

leaf!(NameGlob);

fn glob(text: &str, literal_separator: bool) -> Result<Glob, Option<String>> {
    let built = GlobBuilder::new(text).literal_separator(literal_separator).backslash_escape(true).build();
    built.map_err(|error| Some(format!("is no glob ({})", error.kind())))
}

pub(super) fn named(text: &str) -> Result<(), Option<String>> {
    if text.trim().is_empty() {
        return Err(Some("is empty".to_owned()));
    }
    if text.len() > NAME_BYTES_MAX {
        return Err(Some(format!("is longer than {NAME_BYTES_MAX} bytes")));
    }
    if text.chars().any(char::is_control) {
        return Err(Some("holds a control character".to_owned()));
    }
    Ok(())
}

leaf_text! {
    /// The name of a service.
    ServiceName, "a name, such as \"checkout\"", |text| named(text).map(|()| text.to_owned())
}

leaf_text! {
    /// A systemd unit, or a pattern of units as `journalctl --unit` takes it.
    UnitName, "a systemd unit, such as \"summarizer.service\"", |text| named(text).map(|()| text.to_owned())
}

leaf_text! {
    /// The id of a rule.
    RuleId, "the id of a rule, such as \"pii.email\"", |text| named(text).map(|()| text.to_owned())
}

leaf_text! {
    /// A vendor host of the user's own, as [`VendorTable::with_hosts`](crate::rules::VendorTable::with_hosts) takes it.
    VendorHost,
    "a host without scheme, port or path: \"llm.example.com\", or \"*.example.com\" for all names below it",
    |text| HostPattern::parse(text).map(|_| text.to_ascii_lowercase()).ok_or(None)
}

/// Where the admin server listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Listen {
    /// Nowhere.
    Off,
    /// On this loopback address.
    At(SocketAddr),
}

impl Listen {
    /// The address, if there is one.
    pub fn address(self) -> Option<SocketAddr> {
        match self {
            Self::Off => None,
            Self::At(address) => Some(address),
        }
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("off"),
            Self::At(address) => address.fmt(f),
        }
    }
}

impl Leaf for Listen {
    fn form() -> String {
        "\"off\", or a loopback address with its port: \"127.0.0.1:9464\" or \"[::1]:9464\"".to_owned()
    }

    fn parse(text: &str) -> Result<Self, Option<String>> {
        if text == "off" {
            return Ok(Self::Off);
        }
        let address = SocketAddr::from_str(text).map_err(|_| match IpAddr::from_str(text) {
            Ok(_) => Some("has no port".to_owned()),
            Err(_) => None,
        })?;
        if address.ip().is_loopback() {
            Ok(Self::At(address))
        } else {
            Err(Some("is reachable from other hosts, and the page has neither a password nor encryption".to_owned()))
        }
    }
}

leaf!(Listen);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_absolute() {
        for (text, good) in [
            ("/var/log/*.log", true),
            ("/var/log/**/a-[0-9].log", true),
            ("/var/log/{a,b}.log", false),
            ("/var/log/app**.log", false),
            ("var/log/*.log", false),
            ("", false),
            ("/var/../etc/*.log", false),
            ("/var/log/[a.log", false),
            ("/var/log/{a.log", false),
            ("/var/log/a\0.log", false),
        ] {
            assert_eq!(PathGlob::parse(text).is_ok(), good, "{text}");
        }
        let glob = PathGlob::parse("/var/log/*.log").unwrap().glob().compile_matcher();
        assert!(glob.is_match("/var/log/a.log") && !glob.is_match("/var/log/a/b.log"));
        assert!(AbsolutePath::parse("/var/lib/outflow").is_ok() && AbsolutePath::parse("./x").is_err());
    }

    #[test]
    fn services_match_by_pattern() {
        let glob = NameGlob::parse("checkout-*").unwrap();
        assert!(glob.matches("checkout-eu") && !glob.matches("checkout") && !glob.matches("x-checkout-eu"));
        assert!(NameGlob::parse("*").unwrap().matches("a/b"));
        for text in ["", " ", "a\nb", "[a", &"x".repeat(257)] {
            assert!(NameGlob::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn only_loopback_is_listened_on() {
        for (text, good) in [
            ("127.0.0.1:9464", true),
            ("127.8.8.8:1", true),
            ("[::1]:9464", true),
            ("off", true),
            ("0.0.0.0:9464", false),
            ("[::]:9464", false),
            ("10.0.0.1:9464", false),
            ("localhost:9464", false),
            ("127.0.0.1", false),
            (":9464", false),
            ("127.0.0.1:99999", false),
        ] {
            assert_eq!(Listen::parse(text).is_ok(), good, "{text}");
        }
    }

    #[test]
    fn hosts_are_names_alone() {
        for (text, good) in [
            ("llm.example.com", true),
            ("*.example.com", true),
            ("https://llm.example.com", false),
            ("llm.example.com:443", false),
            ("*.com", false),
            ("", false),
        ] {
            assert_eq!(VendorHost::parse(text).is_ok(), good, "{text}");
        }
    }
}

//! The daemon's options: flags over the configuration file over defaults.
//!
//! ```toml
//! data-dir = "/var/lib/vxmesh"
//! advertise = "eth1"
//! offload = "auto"
//! dns = ["192.0.2.53"]
//! ```

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::error::{Error, failed};
use crate::api::DEFAULT_SOCKET;
use crate::wire::vxlan;

/// Where state is kept unless told otherwise.
pub const DEFAULT_DATA_DIR: &str = "/var/lib/vxmesh";

/// Where control traffic is sent to and heard unless told otherwise, UDP and TCP.
pub const DEFAULT_GOSSIP_PORT: u16 = 7946;

/// Whether a fast path may be taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Where the kernel has it.
    #[default]
    Auto,
    /// Never.
    Off,
}

/// What encrypted networks may be sealed with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, clap::ValueEnum)]
pub enum Cipher {
    /// Either, and the faster one where both hosts can.
    #[default]
    #[serde(rename = "auto")]
    Auto,
    /// AES-256-GCM only.
    #[serde(rename = "aes-256-gcm")]
    #[value(name = "aes-256-gcm")]
    Aes256Gcm,
    /// ChaCha20-Poly1305 only.
    #[serde(rename = "chacha20-poly1305")]
    #[value(name = "chacha20-poly1305")]
    ChaCha20Poly1305,
}

/// What the flags say, or the configuration file: a TOML table with these keys
/// in kebab case. Keys that are not known are refused.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Settings {
    /// Where state is kept.
    pub data_dir: Option<PathBuf>,
    /// Where the API is served.
    pub socket: Option<PathBuf>,
    /// The node's name.
    pub name: Option<String>,
    /// The VTEP: an address of this host, or an interface that has one.
    pub advertise: Option<String>,
    /// The VXLAN port.
    pub data_port: Option<u16>,
    /// The port of control traffic, UDP and TCP.
    pub gossip_port: Option<u16>,
    /// TAPs with virtio headers and super-frames.
    pub offload: Option<Mode>,
    /// UDP_SEGMENT on the underlay.
    pub udp_gso: Option<Mode>,
    /// The resolvers that are asked for what is not the cluster's, in order.
    pub dns: Option<Vec<IpAddr>>,
    /// What encrypted networks may be sealed with.
    pub cipher: Option<Cipher>,
}

/// What the daemon runs with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Where state is kept.
    pub data_dir: PathBuf,
    /// Where the API is served.
    pub socket: PathBuf,
    /// The node's name.
    pub name: String,
    /// The VTEP: an address of this host, or an interface that has one; the
    /// default route's if `None`.
    pub advertise: Option<String>,
    /// The VXLAN port, here and at every peer.
    pub data_port: u16,
    /// The port of this host for control traffic, UDP and TCP.
    pub gossip_port: u16,
    /// TAPs with virtio headers and super-frames.
    pub offload: Mode,
    /// UDP_SEGMENT on the underlay.
    pub udp_gso: Mode,
    /// The resolvers that are asked for what is not the cluster's, in order; the
    /// host's if empty.
    pub dns: Vec<IpAddr>,
    /// What encrypted networks may be sealed with.
    pub cipher: Cipher,
}

impl Settings {
    /// Reads a configuration file.
    pub fn load(path: &Path) -> Result<Settings, Error> {
        let text = std::fs::read_to_string(path)
            .map_err(failed(format!("cannot read the configuration file {}", path.display())))?;
        toml::from_str(&text).map_err(|e| {
            let before = e.span().and_then(|s| text.get(..s.start)).unwrap_or_default();
            let line = 1 + before.matches('\n').count();
            Error::invalid(format!("{}, line {line}: {}", path.display(), e.message().trim_end()))
        })
    }

    /// These settings, and `below` where they are silent.
    pub fn over(self, below: Settings) -> Settings {
        Settings {
            data_dir: self.data_dir.or(below.data_dir),
            socket: self.socket.or(below.socket),
            name: self.name.or(below.name),
            advertise: self.advertise.or(below.advertise),
            data_port: self.data_port.or(below.data_port),
            gossip_port: self.gossip_port.or(below.gossip_port),
            offload: self.offload.or(below.offload),
            udp_gso: self.udp_gso.or(below.udp_gso),
            dns: self.dns.or(below.dns),
            cipher: self.cipher.or(below.cipher),
        }
    }

    /// The options, with defaults where nothing was said.
    pub fn resolve(self) -> Result<Options, Error> {
        let name = match self.name {
            Some(name) => name,
            None => nix::unistd::gethostname()
                .map_err(failed("cannot read the host's name; give --name"))?
                .to_string_lossy()
                .into_owned(),
        };
        if name.is_empty() {
            return Err(Error::invalid("the node's name is empty: give --name"));
        }
        let data_port = self.data_port.unwrap_or(vxlan::PORT);
        if data_port == 0 {
            return Err(Error::invalid("data port 0 is no port: leave it out for 4789"));
        }
        let gossip_port = self.gossip_port.unwrap_or(DEFAULT_GOSSIP_PORT);
        if gossip_port == 0 {
            return Err(Error::invalid("gossip port 0 is no port: leave it out for 7946"));
        }
        if gossip_port == data_port {
            return Err(Error::invalid(format!(
                "the data port and the gossip port are both {data_port}: give one of them another"
            )));
        }
        Ok(Options {
            data_dir: self.data_dir.unwrap_or_else(|| DEFAULT_DATA_DIR.into()),
            socket: self.socket.unwrap_or_else(|| DEFAULT_SOCKET.into()),
            name,
            advertise: self.advertise,
            data_port,
            gossip_port,
            offload: self.offload.unwrap_or_default(),
            udp_gso: self.udp_gso.unwrap_or_default(),
            dns: self.dns.unwrap_or_default(),
            cipher: self.cipher.unwrap_or_default(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str) -> Result<Settings, Error> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.toml");
        std::fs::write(&path, text).unwrap();
        Settings::load(&path)
    }

    #[test]
    fn flags_go_over_the_file_and_the_file_over_defaults() {
        let file = load("name = \"a\"\ndata-port = 8472\ngossip-port = 7947\noffload = \"off\"\n")
            .unwrap();
        let flags = Settings { name: Some("b".into()), ..Settings::default() };
        let options = flags.over(file).resolve().unwrap();
        assert_eq!(options.name, "b");
        assert_eq!((options.data_port, options.gossip_port), (8472, 7947));
        assert_eq!((options.offload, options.udp_gso), (Mode::Off, Mode::Auto));
        assert_eq!(options.data_dir, Path::new(DEFAULT_DATA_DIR));
    }

    #[test]
    fn ciphers_go_by_their_names() {
        let cipher = |text: &str| load(text).map(|settings| settings.cipher);
        for (name, expected) in [
            ("auto", Cipher::Auto),
            ("aes-256-gcm", Cipher::Aes256Gcm),
            ("chacha20-poly1305", Cipher::ChaCha20Poly1305),
        ] {
            assert_eq!(cipher(&format!("cipher = \"{name}\"")).unwrap(), Some(expected));
            assert_eq!(<Cipher as clap::ValueEnum>::from_str(name, false), Ok(expected));
        }
        assert!(cipher("cipher = \"null\"").is_err());
        let flags = Settings { cipher: Some(Cipher::Auto), ..Settings::default() };
        let file = Settings { cipher: Some(Cipher::Aes256Gcm), ..Settings::default() };
        assert_eq!(flags.over(file).cipher, Some(Cipher::Auto));
    }

    #[test]
    fn mistakes_are_named_with_their_line() {
        let message = load("name = \"a\"\ndata_port = 1\n").unwrap_err().to_string();
        assert!(message.contains("line 2") && message.contains("data_port"), "{message}");
        assert!(load("offload = \"maybe\"").is_err());
        for (data, gossip) in [(0, 7946), (4789, 0), (7946, 7946)] {
            let ports = Settings {
                name: Some("a".into()),
                data_port: Some(data),
                gossip_port: Some(gossip),
                ..Settings::default()
            };
            assert!(ports.resolve().unwrap_err().to_string().contains("port"), "{data} {gossip}");
        }
    }
}

//! resolv.conf(5): the host's, which says whom to ask; a sandbox's, which is to say
//! that names are served at 127.0.0.11.
//!
//! A sandbox's file is written in place: engines and `ip netns exec` mount it over
//! /etc/resolv.conf, and what is mounted is the file, not its name. What was there
//! is stored before it is overwritten, and put back when the last endpoint goes, if
//! nobody has changed the file meanwhile.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, SocketAddrV6};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::net::if_::if_nametoindex;
use serde::{Deserialize, Serialize};

use super::ADDRESS;
use crate::api::{self, Sandbox};
use crate::control::error::{Error, failed};
use crate::control::store::{self, Store};
use crate::core::names::forward;

/// What the host's programs resolve with.
const HOST: &str = "/etc/resolv.conf";
/// Where `ip netns exec` looks for files to be seen in a namespace.
const OF_NAMESPACES: &str = "/etc/netns";
/// More resolvers than anybody has.
const MOST: usize = 8;
/// Longer files are something else.
const LARGEST: u64 = 1 << 16;

/// A file that was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Written {
    /// What was there; `None` if there was no file.
    before: Option<String>,
    /// What was written.
    text: String,
}

/// The host's resolvers, in order. One on a loopback address is as good as others,
/// as it is asked from here; where nobody listens the kernel says so at once.
pub(super) fn of_host() -> Vec<SocketAddr> {
    let text = read(Path::new(HOST), true).ok().flatten().unwrap_or_default();
    text.lines()
        .filter_map(|line| words(line, "nameserver")?.next())
        .filter_map(resolver)
        .take(MOST)
        .collect()
}

/// An address, with its scope if it is a link's.
fn resolver(text: &str) -> Option<SocketAddr> {
    let (ip, scope) = text.split_once('%').unwrap_or((text, ""));
    let at = forward::at(ip.parse().ok()?);
    match (at, scope) {
        (_, "") => Some(at),
        (SocketAddr::V6(at), scope) => {
            let index = scope.parse().ok().or_else(|| if_nametoindex(scope).ok())?;
            Some(SocketAddrV6::new(*at.ip(), at.port(), 0, index).into())
        }
        (SocketAddr::V4(_), _) => None,
    }
}

/// The words behind a keyword, if the line has it.
fn words<'a>(line: &'a str, keyword: &str) -> Option<impl Iterator<Item = &'a str>> {
    let mut words = line.split_whitespace();
    (words.next()? == keyword).then_some(words)
}

/// The file that an attach asks for, or that a namespace with a directory of its own
/// under /etc/netns is to have.
pub(in crate::control) fn place(request: &api::Attach) -> Result<Option<PathBuf>, Error> {
    let Some(path) = &request.resolv_conf else { return Ok(of_namespace(&request.sandbox)) };
    if matches!(request.sandbox, Sandbox::Tap(_)) {
        return Err(Error::invalid(
            "a TAP on the host has no resolv.conf: leave --resolv-conf out, and set up the resolver of the virtual machine",
        ));
    }
    let path = PathBuf::from(path);
    let refused = |why: &str| {
        Err(Error::invalid(format!("{} {why}: give the path of a resolv.conf", path.display())))
    };
    if !path.is_absolute() {
        return refused("is not an absolute path");
    }
    match fs::symlink_metadata(&path) {
        Ok(meta) if !meta.is_file() => refused("is no regular file"),
        Ok(_) => Ok(Some(path)),
        Err(_) if path.parent().is_some_and(Path::is_dir) => Ok(Some(path)),
        Err(_) => refused("lies in no directory that is there"),
    }
}

fn of_namespace(sandbox: &Sandbox) -> Option<PathBuf> {
    let Sandbox::Netns(path) = sandbox else { return None };
    let below = ["/run/netns/", "/var/run/netns/"].iter().find_map(|d| path.strip_prefix(d));
    let name = below.unwrap_or(path);
    let dir = Path::new(OF_NAMESPACES).join(name);
    // An absolute path would stand for itself.
    (!name.contains('/') && !name.starts_with('.') && dir.is_dir()).then(|| dir.join("resolv.conf"))
}

/// Writes a sandbox's file, and stores what it was before.
pub(super) fn write(
    store: &Store,
    path: &Path,
    files: &mut BTreeMap<PathBuf, Written>,
) -> Result<(), Error> {
    let unwritten = || failed(format!("{} does not name {ADDRESS}", path.display()));
    let before = read(path, false).map_err(unwritten())?;
    // Without a file of its own the sandbox has seen the host's.
    let seen = match &before {
        Some(before) => before.clone(),
        None => read(Path::new(HOST), true).ok().flatten().unwrap_or_default(),
    };
    let written = Written { before, text: text(&seen) };
    let key = path.to_string_lossy();
    store.commit(|c| c.put(store::RESOLV_CONFS, &key, &written))?;
    let done = overwrite(path, &written.text);
    if done.is_err() {
        // A disk that is full takes what was there before.
        let _ = written.before.as_ref().map(|before| overwrite(path, before));
        store.commit(|c| c.delete(store::RESOLV_CONFS, &key))?;
        return done.map_err(unwritten());
    }
    files.insert(path.to_owned(), written);
    Ok(())
}

/// Makes a file what it was before, and forgets it. One that somebody has changed
/// since is theirs.
pub(super) fn put_back(
    store: &Store,
    path: &Path,
    files: &mut BTreeMap<PathBuf, Written>,
) -> Result<(), Error> {
    let Some(written) = files.remove(path) else { return Ok(()) };
    store.commit(|c| c.delete(store::RESOLV_CONFS, &path.to_string_lossy()))?;
    // What cannot be read is not ours either, or gone with its directory.
    if read(path, false).ok().flatten().as_ref() != Some(&written.text) {
        return Ok(());
    }
    match &written.before {
        Some(before) => overwrite(path, before),
        None => fs::remove_file(path),
    }
    .map_err(failed(format!("{} still names {ADDRESS}", path.display())))
}

/// What a sandbox is to read that has read `seen` so far: our address, the same
/// search domains, and names without a dot asked for as they are.
fn text(seen: &str) -> String {
    // The last of them counts, as the C library reads it.
    let search = seen
        .lines()
        .filter_map(|line| {
            words(line, "search")
                .map(Vec::from_iter)
                .or_else(|| words(line, "domain").map(Vec::from_iter))
        })
        .next_back()
        .filter(|domains| !domains.is_empty())
        .map(|domains| format!("search {}\n", domains.join(" ")))
        .unwrap_or_default();
    let options = seen.lines().filter_map(|line| words(line, "options")).flatten();
    let options: Vec<&str> = options.filter(|o| !o.starts_with("ndots:")).collect();
    let options = [&["ndots:0"], &options[..]].concat().join(" ");
    format!(
        "# By vxmesh, while the namespace is attached.\nnameserver {ADDRESS}\n{search}options {options}\n"
    )
}

/// A file's text; `None` if it does not exist. A container may have put something
/// else in its place: only `follow` lets a link lead elsewhere.
fn read(path: &Path, follow: bool) -> io::Result<Option<String>> {
    let link = if follow { 0 } else { libc::O_NOFOLLOW };
    let file = match File::options().read(true).custom_flags(libc::O_NONBLOCK | link).open(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => regular(file?)?,
    };
    let mut text = String::new();
    file.take(LARGEST).read_to_string(&mut text)?;
    Ok(Some(text))
}

/// In place; for all to read where it is new.
fn overwrite(path: &Path, text: &str) -> io::Result<()> {
    let mut options = File::options();
    options.write(true).custom_flags(libc::O_NONBLOCK | libc::O_NOFOLLOW);
    let mut file = match options.open(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            let file = options.create_new(true).open(path)?;
            file.set_permissions(fs::Permissions::from_mode(0o644))?;
            file
        }
        file => regular(file?)?,
    };
    file.set_len(0)?;
    file.write_all(text.as_bytes())
}

fn regular(file: File) -> io::Result<File> {
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn search_domains_and_options_stay() {
        let seen = "# of the host\nnameserver 192.0.2.1\nsearch a.example\nsearch b.example c.example\noptions ndots:5 timeout:1\noptions rotate\n";
        let text = text(seen);
        assert!(text.lines().any(|l| l == "nameserver 127.0.0.11"), "{text}");
        assert!(text.lines().any(|l| l == "search b.example c.example"), "{text}");
        assert!(text.lines().any(|l| l == "options ndots:0 timeout:1 rotate"), "{text}");
        assert_eq!(text.matches("nameserver").count(), 1);
        assert!(super::text("domain x.example").contains("search x.example\noptions ndots:0\n"));
        assert!(!super::text("").contains("search"));
    }

    #[test]
    fn resolvers_are_addresses() {
        assert_eq!(resolver("192.0.2.1"), Some("192.0.2.1:53".parse().unwrap()));
        assert_eq!(resolver("2001:db8::1"), Some("[2001:db8::1]:53".parse().unwrap()));
        let Some(SocketAddr::V6(scoped)) = resolver("fe80::1%lo") else { panic!() };
        assert_ne!(scoped.scope_id(), 0);
        for bad in ["", "x", "192.0.2.1%lo", "fe80::1%no-such-interface"] {
            assert_eq!(resolver(bad), None, "{bad}");
        }
    }

    fn store() -> (tempfile::TempDir, Store) {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("data")).unwrap();
        (dir, store)
    }

    #[test]
    fn a_file_is_put_back_as_it_was() {
        let (dir, store) = store();
        let (there, new) = (dir.path().join("there"), dir.path().join("new"));
        fs::write(&there, "search a.example\n").unwrap();
        let mut files = BTreeMap::new();
        for path in [&there, &new] {
            write(&store, path, &mut files).unwrap();
            assert!(fs::read_to_string(path).unwrap().contains("nameserver 127.0.0.11"));
            assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o644);
        }
        let stored = store.all::<Written>(store::RESOLV_CONFS).unwrap();
        assert_eq!(stored.len(), 2);
        for path in [&there, &new] {
            put_back(&store, path, &mut files).unwrap();
        }
        assert_eq!(fs::read_to_string(&there).unwrap(), "search a.example\n");
        assert!(!new.exists());
        assert!(store.all::<Written>(store::RESOLV_CONFS).unwrap().is_empty());
    }

    #[test]
    fn a_file_that_somebody_changed_is_theirs() {
        let (dir, store) = store();
        let path = dir.path().join("file");
        let mut files = BTreeMap::new();
        write(&store, &path, &mut files).unwrap();
        fs::write(&path, "nameserver 192.0.2.9\n").unwrap();
        put_back(&store, &path, &mut files).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "nameserver 192.0.2.9\n");
        assert!(files.is_empty());
    }

    #[test]
    fn a_link_leads_nowhere() {
        let (dir, store) = store();
        let (secret, link) = (dir.path().join("secret"), dir.path().join("link"));
        fs::write(&secret, "secret").unwrap();
        std::os::unix::fs::symlink(&secret, &link).unwrap();
        let mut files = BTreeMap::new();
        write(&store, &link, &mut files).unwrap_err();
        assert_eq!(fs::read_to_string(&secret).unwrap(), "secret");
        assert!(files.is_empty());
        assert!(store.all::<Written>(store::RESOLV_CONFS).unwrap().is_empty());
    }
}

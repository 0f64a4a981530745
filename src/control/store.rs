//! State on disk: one redb file in the data directory, JSON values, and a lock
//! that keeps a second daemon out.
//!
//! A change is on the disk when [`Store::commit`] returns, whole or not at all.

use std::fs::{self, File, TryLockError};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::thread;

use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition, WriteTransaction};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::error::{Error, failed};
use crate::core::cluster::entry::{Entry, Key};

/// One kind of record: an id, and JSON.
pub type Table = TableDefinition<'static, &'static str, &'static [u8]>;

/// The cluster's [`Entry`]s, whole, by their keys: networks, endpoints and all
/// else that hosts tell each other. Both are postcard.
const ENTRIES: TableDefinition<'static, &'static [u8], &'static [u8]> =
    TableDefinition::new("entries");
/// [`super::attach::Attachment`] by endpoint id.
pub const ATTACHMENTS: Table = TableDefinition::new("attachments");
/// Foreign VTEPs, a list of addresses by network id.
pub const VTEPS: Table = TableDefinition::new("vteps");
/// Each resolv.conf that was written, with what it was before, by its path.
pub const RESOLV_CONFS: Table = TableDefinition::new("resolv_confs");
/// Who this host is, under `self`.
pub const NODE: Table = TableDefinition::new("node");

/// The thread that opens the database. redb may panic over a damaged file, which
/// is then no fault of ours: such a panic becomes an error.
pub(super) const OPENER: &str = "state";

/// The open data directory. Nobody else has it while this lives.
#[derive(Debug)]
pub struct Store {
    path: PathBuf,
    /// `None` after something failed, until it can be opened again.
    database: Mutex<Option<Database>>,
    _lock: File,
}

/// Changes that are made together.
pub struct Changes<'a>(&'a WriteTransaction);

impl Store {
    /// Takes the data directory, making it and its files where they are missing.
    pub fn open(dir: &Path) -> Result<Store, Error> {
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(dir);
        made.map_err(failed(format!("cannot make the data directory {}", dir.display())))?;
        let lock = lock(dir)?;
        let path = dir.join("state.redb");
        let database = open(&path).map_err(|why| {
            Error::Failed(format!(
                "the state in {} cannot be read ({why}): put a copy from a backup in its place, or move it away to start with no networks",
                path.display()
            ))
        })?;
        let store = Store { path, database: Mutex::new(Some(database)), _lock: lock };
        // Readers need the tables to exist.
        store.commit(|changes| {
            for table in [ATTACHMENTS, VTEPS, RESOLV_CONFS, NODE] {
                changes.0.open_table(table).map_err(unwritten)?;
            }
            changes.0.open_table(ENTRIES).map_err(unwritten)?;
            Ok(())
        })?;
        Ok(store)
    }

    /// Does something with the database. After an error of the disk redb refuses
    /// everything until it is opened anew, as it is the next time.
    fn with<T>(&self, work: impl FnOnce(&Database) -> Result<T, Error>) -> Result<T, Error> {
        let mut place = self.database.lock().unwrap_or_else(PoisonError::into_inner);
        let database = match place.take() {
            Some(database) => database,
            None => open(&self.path).map_err(unwritten)?,
        };
        let result = work(&database);
        if result.is_ok() {
            *place = Some(database);
        }
        result
    }

    /// All records of a table, in the order of their ids.
    pub fn all<T: DeserializeOwned>(&self, table: Table) -> Result<Vec<(String, T)>, Error> {
        self.with(|database| {
            let transaction = database.begin_read().map_err(unread)?;
            let records = transaction.open_table(table).map_err(unread)?;
            let mut out = Vec::new();
            for record in records.iter().map_err(unread)? {
                let (key, value) = record.map_err(unread)?;
                let value = serde_json::from_slice(value.value()).map_err(|e| {
                    unread(format!("record {} of {}: {e}", key.value(), table_name(table)))
                })?;
                out.push((key.value().to_owned(), value));
            }
            Ok(out)
        })
    }

    /// Makes changes that hold all together, or none of them on an error.
    pub fn commit(
        &self,
        change: impl FnOnce(&Changes<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.with(|database| {
            let transaction = database.begin_write().map_err(unwritten)?;
            change(&Changes(&transaction))?;
            transaction.commit().map_err(unwritten)
        })
    }

    /// All entries, in the order of their keys' bytes.
    pub fn entries(&self) -> Result<Vec<Entry>, Error> {
        self.with(|database| {
            let transaction = database.begin_read().map_err(unread)?;
            let records = transaction.open_table(ENTRIES).map_err(unread)?;
            let mut out = Vec::new();
            for record in records.iter().map_err(unread)? {
                let (_, value) = record.map_err(unread)?;
                out.push(postcard::from_bytes(value.value()).map_err(unread)?);
            }
            Ok(out)
        })
    }
}

impl Changes<'_> {
    /// Writes a record.
    pub fn put<T: Serialize>(&self, table: Table, key: &str, value: &T) -> Result<(), Error> {
        let json = serde_json::to_vec(value).map_err(unwritten)?;
        let mut table = self.0.open_table(table).map_err(unwritten)?;
        table.insert(key, json.as_slice()).map_err(unwritten)?;
        Ok(())
    }

    /// Writes an entry.
    pub fn put_entry(&self, entry: &Entry) -> Result<(), Error> {
        let key = postcard::to_allocvec(&entry.key).map_err(unwritten)?;
        let value = postcard::to_allocvec(entry).map_err(unwritten)?;
        let mut table = self.0.open_table(ENTRIES).map_err(unwritten)?;
        table.insert(key.as_slice(), value.as_slice()).map_err(unwritten)?;
        Ok(())
    }

    /// Deletes all entries.
    pub fn forget_entries(&self) -> Result<(), Error> {
        self.0.delete_table(ENTRIES).map_err(unwritten)?;
        self.0.open_table(ENTRIES).map_err(unwritten)?;
        Ok(())
    }

    /// Deletes an entry; it need not exist.
    pub fn delete_entry(&self, key: &Key) -> Result<(), Error> {
        let key = postcard::to_allocvec(key).map_err(unwritten)?;
        let mut table = self.0.open_table(ENTRIES).map_err(unwritten)?;
        table.remove(key.as_slice()).map_err(unwritten)?;
        Ok(())
    }

    /// Deletes a record; it need not exist.
    pub fn delete(&self, table: Table, key: &str) -> Result<(), Error> {
        let mut table = self.0.open_table(table).map_err(unwritten)?;
        table.remove(key).map_err(unwritten)?;
        Ok(())
    }
}

/// Opens the database and checks every page of it, so that damage is found before
/// anything is read. Where the last change was torn, the one before it counts.
fn open(path: &Path) -> Result<Database, String> {
    let path = path.to_owned();
    let opener = thread::Builder::new().name(OPENER.to_owned()).spawn(move || {
        keep_private(&path).map_err(|e| e.to_string())?;
        let mut database = Database::builder()
            .set_repair_callback(|_| {
                tracing::debug!("the state was not closed in good order: checking it");
            })
            .create(&path)
            .map_err(|e| e.to_string())?;
        if !database.check_integrity().map_err(|e| e.to_string())? {
            tracing::warn!("the state was damaged: going on from its last whole change");
        }
        Ok(database)
    });
    let opened = opener.map_err(|e| e.to_string())?.join();
    opened.unwrap_or_else(|_panic| Err("it is damaged".to_owned()))
}

/// The state holds keys: it is for its owner alone.
fn keep_private(path: &Path) -> std::io::Result<()> {
    let file = File::options().write(true).create(true).truncate(false).mode(0o600).open(path)?;
    file.set_permissions(fs::Permissions::from_mode(0o600))
}

fn table_name(table: Table) -> String {
    redb::TableHandle::name(&table).to_owned()
}

fn unread(why: impl std::fmt::Display) -> Error {
    Error::Failed(format!(
        "the stored state cannot be read ({why}): put a copy from a backup in its place, or move it away to start with no networks"
    ))
}

fn unwritten(why: impl std::fmt::Display) -> Error {
    Error::Failed(format!(
        "the state cannot be written to the data directory ({why}): see whether the disk is full or read-only"
    ))
}

/// The lock is the kernel's (flock), so that it ends with the process however
/// that ends; the process id inside is for people.
fn lock(dir: &Path) -> Result<File, Error> {
    let path = dir.join("lock");
    let open = File::options().read(true).write(true).create(true).truncate(false).open(&path);
    let mut file = open.map_err(failed(format!("cannot open {}", path.display())))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut pid = String::new();
            // An unreadable pid makes the sentence poorer, not wrong.
            let _ = file.read_to_string(&mut pid);
            return Err(Error::conflict(format!(
                "the data directory {} is in use by the daemon with process id {}: stop it, or give another --data-dir",
                dir.display(),
                pid.trim()
            )));
        }
        Err(TryLockError::Error(e)) => {
            return Err(failed(format!("cannot lock {}", path.display()))(e));
        }
    }
    let written = file
        .set_len(0)
        .and_then(|()| file.rewind())
        .and_then(|()| writeln!(file, "{}", std::process::id()));
    written.map_err(failed(format!("cannot write {}", path.display())))?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::cluster::entry::Version;
    use crate::core::cluster::secret::identity::Identity;

    #[test]
    fn what_was_committed_is_there_after_opening_again() {
        let dir = tempfile::tempdir().unwrap();
        {
            let store = Store::open(dir.path()).unwrap();
            let refused = store.commit(|c| {
                c.put(NODE, "half", &1)?;
                Err(Error::invalid("no"))
            });
            assert!(refused.is_err());
            store.commit(|c| c.put(NODE, "b", &2).and(c.put(NODE, "a", &1))).unwrap();
            store.commit(|c| c.delete(NODE, "b").and(c.delete(VTEPS, "none"))).unwrap();
        }
        let store = Store::open(dir.path()).unwrap();
        assert_eq!(store.all::<u32>(NODE).unwrap(), vec![("a".to_owned(), 1)]);
    }

    #[test]
    fn entries_are_kept_whole_until_they_are_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let identity = Identity::from_seed(&[7; 32]);
        let sign = |key, version| identity.sign_entry(key, Version(version), None);
        let [token, secret, network] =
            [Key::Token, Key::Secret(300), Key::Network([9; 32])].map(|key| sign(key, 1));
        {
            let store = Store::open(dir.path()).unwrap();
            let all = [&token, &secret, &network];
            store.commit(|c| all.iter().try_for_each(|e| c.put_entry(e))).unwrap();
            store.commit(|c| c.put_entry(&sign(Key::Token, 2))).unwrap();
            store.commit(|c| c.delete_entry(&network.key)).unwrap();
            store.commit(|c| c.delete_entry(&network.key)).unwrap();
        }
        let store = Store::open(dir.path()).unwrap();
        let mut kept = store.entries().unwrap();
        kept.sort_by_key(|e| e.key);
        assert_eq!(kept, [secret, sign(Key::Token, 2)]);
        store.commit(|c| c.forget_entries()).unwrap();
        assert_eq!(store.entries().unwrap(), []);
        store.commit(|c| c.put_entry(&token)).unwrap();
        assert_eq!(store.entries().unwrap(), [token]);
    }

    #[test]
    fn a_second_daemon_is_told_who_has_the_directory() {
        let dir = tempfile::tempdir().unwrap();
        let _first = Store::open(dir.path()).unwrap();
        let message = Store::open(dir.path()).unwrap_err().to_string();
        assert!(message.contains(&format!("process id {}", std::process::id())), "{message}");
    }

    #[test]
    fn the_state_is_for_its_owner_alone() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("made");
        drop(Store::open(&state).unwrap());
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&state), 0o700);
        assert_eq!(mode(&state.join("state.redb")), 0o600);
    }

    #[test]
    fn a_damaged_file_is_a_sentence() {
        let dir = tempfile::tempdir().unwrap();
        drop(Store::open(dir.path()).unwrap());
        let path = dir.path().join("state.redb");
        let whole = fs::read(&path).unwrap();
        for damaged in [vec![0xa5; whole.len()], whole[..100].to_vec(), b"not a database".to_vec()]
        {
            fs::write(&path, damaged).unwrap();
            let message = Store::open(dir.path()).unwrap_err().to_string();
            assert!(message.contains("state.redb cannot be read"), "{message}");
        }
    }
}

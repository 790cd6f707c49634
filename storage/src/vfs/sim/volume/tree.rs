//! What the calls on names do.

use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};
use std::io;

use rustix::io::Errno;

use super::Volume;
use crate::vfs::sim::file::File;
use crate::vfs::sim::names::{NameChange, NodeId, ROOT};
use crate::vfs::{DirEntry, EntryKind};

impl Volume {
    /// Opens an existing file or folder for a descriptor.
    pub(crate) fn open(&mut self, folders: &[&str], name: &str) -> io::Result<NodeId> {
        let id = self.find(folders, name)?;
        if let Some(node) = self.node_mut(id) {
            if node.file.is_none() {
                return Err(Errno::ISDIR.into());
            }
            node.opens += 1;
        }
        Ok(id)
    }

    pub(crate) fn close(&mut self, id: NodeId) {
        if let Some(node) = self.node_mut(id) {
            node.opens -= 1;
        }
        self.free_if_gone(id);
    }

    /// Creates a file and opens it, or creates a folder.
    pub(crate) fn create(
        &mut self,
        stamp: u64,
        folders: &[&str],
        name: &str,
        kind: EntryKind,
    ) -> io::Result<NodeId> {
        let folder = self.folder(folders)?;
        check_name(name)?;
        if self.names.get(folder, name).is_some() {
            return Err(Errno::EXIST.into());
        }
        if self.used_pages >= self.total_pages {
            return Err(Errno::NOSPC.into());
        }
        let is_file = kind == EntryKind::File;
        let name = (folder, name.to_owned());
        let id = self.add_node(is_file.then(File::default), name.clone());
        if let Some(node) = self.node_mut(id) {
            node.opens += u64::from(is_file);
        }
        self.names.change(NameChange {
            stamp,
            steps: vec![(name, Some(id))],
        });
        Ok(id)
    }

    pub(crate) fn rename(
        &mut self,
        stamp: u64,
        from: (Vec<&str>, &str),
        to: (Vec<&str>, &str),
    ) -> io::Result<()> {
        let from_name = (self.folder(&from.0)?, from.1.to_owned());
        let to_name = (self.folder(&to.0)?, to.1.to_owned());
        let id = self.find(&from.0, from.1)?;
        check_name(to.1)?;
        let replaced = self.names.get(to_name.0, to.1);
        if replaced == Some(id) {
            return Ok(());
        }
        let is_file = self.is_file(id);
        self.check_rename(id, from_name.0, to_name.0, replaced)?;
        let (set, clear) = ((to_name.clone(), Some(id)), (from_name.clone(), None));
        if is_file && from_name.0 != to_name.0 {
            self.names.change(NameChange {
                stamp,
                steps: vec![set],
            });
            self.names.change(NameChange {
                stamp,
                steps: vec![clear],
            });
        } else {
            self.names.change(NameChange {
                stamp,
                steps: vec![clear, set],
            });
        }
        if let Some(node) = self.node_mut(id) {
            node.name = to_name;
        }
        if let Some(replaced) = replaced {
            self.unlink_node(replaced);
        }
        Ok(())
    }

    fn check_rename(
        &self,
        id: NodeId,
        from: NodeId,
        to: NodeId,
        replaced: Option<NodeId>,
    ) -> io::Result<()> {
        if !self.is_file(id) && self.is_inside(to, id) {
            return Err(Errno::INVAL.into());
        }
        let Some(replaced) = replaced else {
            return Ok(());
        };
        if self.is_inside(from, replaced) {
            return Err(Errno::NOTEMPTY.into());
        }
        match (self.is_file(id), self.is_file(replaced)) {
            (true, false) => Err(Errno::ISDIR.into()),
            (false, true) => Err(Errno::NOTDIR.into()),
            (false, false) => self.check_empty(replaced),
            (true, true) => Ok(()),
        }
    }

    pub(crate) fn unlink(&mut self, stamp: u64, folders: &[&str], name: &str) -> io::Result<()> {
        let id = self.find(folders, name)?;
        if !self.is_file(id) {
            return Err(Errno::ISDIR.into());
        }
        self.remove(stamp, folders, name, id)
    }

    pub(crate) fn remove_dir(
        &mut self,
        stamp: u64,
        folders: &[&str],
        name: &str,
    ) -> io::Result<()> {
        let id = self.find(folders, name)?;
        if self.is_file(id) {
            return Err(Errno::NOTDIR.into());
        }
        self.check_empty(id)?;
        self.remove(stamp, folders, name, id)
    }

    fn remove(&mut self, stamp: u64, folders: &[&str], name: &str, id: NodeId) -> io::Result<()> {
        let name = (self.folder(folders)?, name.to_owned());
        self.names.change(NameChange {
            stamp,
            steps: vec![(name, None)],
        });
        self.unlink_node(id);
        Ok(())
    }

    pub(crate) fn list(&self, folder: NodeId) -> Vec<DirEntry> {
        let entry = |(name, id): (&str, NodeId)| DirEntry {
            name: name.to_owned(),
            kind: if self.is_file(id) {
                EntryKind::File
            } else {
                EntryKind::Dir
            },
        };
        self.names.in_folder(folder).map(entry).collect()
    }

    pub(crate) fn sync_folder(&mut self, folder: NodeId) {
        self.names.sync(folder);
        self.collect();
    }

    /// Finds a folder; no names stand for the root.
    pub(crate) fn folder(&self, names: &[&str]) -> io::Result<NodeId> {
        let mut folder = ROOT;
        for name in names {
            check_name(name)?;
            folder = self.names.get(folder, name).ok_or(Errno::NOENT)?;
            if self.is_file(folder) {
                return Err(Errno::NOTDIR.into());
            }
        }
        Ok(folder)
    }

    /// Finds a file or folder.
    pub(crate) fn find(&self, folders: &[&str], name: &str) -> io::Result<NodeId> {
        let folder = self.folder(folders)?;
        check_name(name)?;
        Ok(self.names.get(folder, name).ok_or(Errno::NOENT)?)
    }

    /// The path that a file or folder was last given.
    pub(crate) fn path_of(&self, id: NodeId) -> String {
        let mut names = Vec::new();
        let mut at = id;
        while at != ROOT
            && let Some(node) = self.nodes.get(&at)
        {
            names.push(node.name.1.as_str());
            at = node.name.0;
        }
        names.reverse();
        names.join("/")
    }

    /// Digests what a reader sees in a folder: names, kinds, lengths and contents.
    pub(crate) fn hash_folder(&self, folder: NodeId, hasher: &mut impl Hasher) {
        for (name, id) in self.names.in_folder(folder) {
            name.hash(hasher);
            match self.file(id) {
                Ok(file) => (file.live.length, file.live.pages.digest()).hash(hasher),
                Err(_) => self.hash_folder(id, hasher),
            }
        }
        // Ends the folder: no name holds this byte.
        u8::MAX.hash(hasher);
    }

    /// All files and folders that a reader sees, by path, a folder before what is in it.
    pub(crate) fn walk(&self) -> BTreeMap<String, NodeId> {
        let mut found = BTreeMap::new();
        let mut folders = vec![(String::new(), ROOT)];
        while let Some((path, folder)) = folders.pop() {
            for (name, id) in self.names.in_folder(folder) {
                let path = if path.is_empty() {
                    name.to_owned()
                } else {
                    format!("{path}/{name}")
                };
                if !self.is_file(id) {
                    folders.push((path.clone(), id));
                }
                found.insert(path, id);
            }
        }
        found
    }

    fn check_empty(&self, folder: NodeId) -> io::Result<()> {
        match self.names.in_folder(folder).next() {
            Some(_) => Err(Errno::NOTEMPTY.into()),
            None => Ok(()),
        }
    }

    /// Whether a folder is `outer` or somewhere in it.
    fn is_inside(&self, folder: NodeId, outer: NodeId) -> bool {
        let mut at = folder;
        while at != outer && at != ROOT {
            match self.nodes.get(&at) {
                Some(node) => at = node.name.0,
                None => return false,
            }
        }
        at == outer
    }
}

fn check_name(name: &str) -> io::Result<()> {
    if name.len() > NAME_BYTES_MAX {
        return Err(Errno::NAMETOOLONG.into());
    }
    Ok(())
}

const NAME_BYTES_MAX: usize = 255;

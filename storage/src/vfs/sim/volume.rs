//! The file system of the simulated disk: names, files and room, as a kernel keeps them.
//!
//! Nothing here fails but as a real file system does; what interferes from outside is in
//! [`gate`](super::gate).

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use rustix::io::Errno;

use super::extents::pages_of;
use super::file::File;
use super::image::{Change, Content};
use super::names::{Name, NameChange, NameMap, Names, NodeId, ROOT};
use super::pages::BLOCK;
use crate::vfs::{DirEntry, EntryKind, Space};

/// Names, files and room.
#[derive(Debug, Clone)]
pub(super) struct Volume {
    pub(super) names: Names,
    nodes: BTreeMap<NodeId, Node>,
    next_node: u64,
    total_pages: u64,
    used_pages: u64,
}

/// A file or folder.
#[derive(Debug, Clone)]
struct Node {
    /// None for a folder.
    file: Option<File>,
    /// Number of live names; above 1 only after a crash in a rename between folders.
    links: u64,
    /// Number of open descriptors.
    opens: u64,
    /// The name it was last given, for messages.
    name: Name,
}

impl Volume {
    pub(super) fn new(total_bytes: u64) -> Self {
        let mut volume = Self {
            names: Names::default(),
            nodes: BTreeMap::new(),
            next_node: 0,
            total_pages: total_bytes / BLOCK,
            used_pages: 0,
        };
        volume.add_node(None, (ROOT, String::new()));
        volume
    }

    /// The state that a restart of the process finds: no descriptor is open any more.
    pub(super) fn close_all(&mut self) {
        for node in self.nodes.values_mut() {
            node.opens = 0;
        }
        self.collect();
        self.count_used();
    }

    /// The state that a power loss leaves: nothing is pending, and a reader sees what is durable.
    pub(super) fn after_power_loss(
        &self,
        names: &NameMap,
        mut survive: impl FnMut(NodeId, &File) -> super::image::Image,
    ) -> Self {
        let mut after = Self {
            nodes: BTreeMap::new(),
            names: Names::default(),
            ..*self
        };
        after.nodes.insert(
            ROOT,
            Node {
                links: 1,
                ..Node::folder((ROOT, String::new()))
            },
        );
        let mut folders = vec![ROOT];
        while let Some(folder) = folders.pop() {
            for ((_, name), id) in names.range(in_folder(folder)) {
                let Some(node) = self.nodes.get(id) else {
                    continue;
                };
                after.names.live.insert((folder, name.clone()), *id);
                let copy = after.nodes.entry(*id).or_insert_with(|| {
                    let mut copy = Node::folder((folder, name.clone()));
                    copy.file = node.file.as_ref().map(|file| {
                        let image = survive(*id, file);
                        File {
                            live: image.clone(),
                            durable: image,
                            ..File::default()
                        }
                    });
                    copy
                });
                copy.links += 1;
                if copy.file.is_none() && copy.links == 1 {
                    folders.push(*id);
                }
            }
        }
        after.names.durable = after.names.live.clone();
        after.count_used();
        after
    }

    // Files.

    pub(super) fn file(&self, id: NodeId) -> io::Result<&File> {
        self.nodes
            .get(&id)
            .and_then(|node| node.file.as_ref())
            .ok_or_else(|| Errno::BADF.into())
    }

    /// For changes that keep the invariant of [`File`] and touch no allocation.
    pub(super) fn file_mut(&mut self, id: NodeId) -> io::Result<&mut File> {
        let node = self.nodes.get_mut(&id);
        node.and_then(|node| node.file.as_mut())
            .ok_or_else(|| Errno::BADF.into())
    }

    /// Every file and folder, by number.
    pub(super) fn files(&self) -> impl Iterator<Item = (NodeId, &File)> {
        self.nodes
            .iter()
            .filter_map(|(id, node)| Some((*id, node.file.as_ref()?)))
    }

    pub(super) fn evict_cache(&mut self) {
        for file in self
            .nodes
            .values_mut()
            .filter_map(|node| node.file.as_mut())
        {
            file.drop_cache(0, u64::MAX);
        }
    }

    /// Writes what there is room for; returns the number of bytes written.
    pub(super) fn write(
        &mut self,
        id: NodeId,
        stamp: u64,
        position: u64,
        mut bytes: Vec<u8>,
        is_lost: bool,
    ) -> io::Result<usize> {
        check_size(position, bytes.len() as u64)?;
        let count = self.room_for(id, position, bytes.len())?;
        bytes.truncate(count);
        if count > 0 {
            let change = Change::Write {
                position,
                content: Content::new(bytes),
                is_lost,
            };
            self.change(id, stamp, change)?;
        }
        Ok(count)
    }

    /// Number of bytes that can be written at a position before room runs out.
    fn room_for(&self, id: NodeId, position: u64, count: usize) -> io::Result<usize> {
        let extents = &self.file(id)?.live.extents;
        let free = self.total_pages.saturating_sub(self.used_pages);
        let pages = pages_of(position, count as u64);
        if extents.missing(&pages) <= free {
            return Ok(count);
        }
        let mut missing = 0;
        for page in pages.clone() {
            missing += u64::from(!extents.contains(page));
            if missing > free {
                let fitting = (page * BLOCK).saturating_sub(position);
                return if fitting == 0 {
                    Err(Errno::NOSPC.into())
                } else {
                    Ok(fitting as usize)
                };
            }
        }
        Ok(count)
    }

    /// Reserves all of the range, or as much as there is room for and says that it is not all.
    pub(super) fn allocate(
        &mut self,
        id: NodeId,
        stamp: u64,
        position: u64,
        length: u64,
    ) -> io::Result<()> {
        if length == 0 {
            return Err(Errno::INVAL.into());
        }
        check_size(position, length)?;
        let free = self.total_pages.saturating_sub(self.used_pages);
        let pages = pages_of(position, length);
        let extents = &self.file(id)?.live.extents;
        if extents.missing(&pages) <= free {
            return self.change(id, stamp, Change::Allocate { position, length });
        }
        // The strictest of what file systems do here: the file is left partly extended.
        let fitting = (pages.start + free).min(pages.end) * BLOCK;
        if fitting > position {
            let length = fitting - position;
            self.change(id, stamp, Change::Allocate { position, length })?;
        }
        Err(Errno::NOSPC.into())
    }

    pub(super) fn set_length(&mut self, id: NodeId, stamp: u64, length: u64) -> io::Result<()> {
        check_size(0, length)?;
        self.change(id, stamp, Change::SetLength { length })
    }

    fn change(&mut self, id: NodeId, stamp: u64, change: Change) -> io::Result<()> {
        let file = self.file_mut(id)?;
        let before = file.live.extents.count();
        file.change(stamp, change);
        let after = file.live.extents.count();
        self.used_pages = self.used_pages + after - before;
        Ok(())
    }

    /// Opens an existing file or folder for a descriptor.
    pub(super) fn open(&mut self, folders: &[&str], name: &str) -> io::Result<NodeId> {
        let id = self.find(folders, name)?;
        if let Some(node) = self.nodes.get_mut(&id) {
            if node.file.is_none() {
                return Err(Errno::ISDIR.into());
            }
            node.opens += 1;
        }
        Ok(id)
    }

    pub(super) fn close(&mut self, id: NodeId) {
        if let Some(node) = self.nodes.get_mut(&id) {
            node.opens -= 1;
        }
        self.free_if_gone(id);
    }

    // Names.

    /// Creates a file and opens it, or creates a folder.
    pub(super) fn create(
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
        if let Some(node) = self.nodes.get_mut(&id) {
            node.opens += u64::from(is_file);
        }
        self.names.change(NameChange {
            stamp,
            steps: vec![(name, Some(id))],
        });
        Ok(id)
    }

    pub(super) fn rename(
        &mut self,
        stamp: u64,
        from: (Vec<&str>, &str),
        to: (Vec<&str>, &str),
    ) -> io::Result<()> {
        let from_name = (self.folder(&from.0)?, from.1.to_owned());
        let to_name = (self.folder(&to.0)?, to.1.to_owned());
        check_name(to.1)?;
        let id = self.find(&from.0, from.1)?;
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
        if let Some(node) = self.nodes.get_mut(&id) {
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

    pub(super) fn unlink(&mut self, stamp: u64, folders: &[&str], name: &str) -> io::Result<()> {
        let id = self.find(folders, name)?;
        if !self.is_file(id) {
            return Err(Errno::ISDIR.into());
        }
        self.remove(stamp, folders, name, id)
    }

    pub(super) fn remove_dir(
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

    pub(super) fn list(&self, folder: NodeId) -> Vec<DirEntry> {
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

    pub(super) fn sync_folder(&mut self, folder: NodeId) {
        self.names.sync(folder);
        self.collect();
    }

    /// Finds a folder; no names stand for the root.
    pub(super) fn folder(&self, names: &[&str]) -> io::Result<NodeId> {
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
    pub(super) fn find(&self, folders: &[&str], name: &str) -> io::Result<NodeId> {
        let folder = self.folder(folders)?;
        check_name(name)?;
        Ok(self.names.get(folder, name).ok_or(Errno::NOENT)?)
    }

    /// The path that a file or folder was last given.
    pub(super) fn path_of(&self, id: NodeId) -> String {
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

    /// All files and folders that a reader sees, by path, a folder before what is in it.
    pub(super) fn walk(&self) -> BTreeMap<String, NodeId> {
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

    // Room.

    pub(super) fn space(&self) -> Space {
        let available = self.total_pages.saturating_sub(self.used_pages);
        Space {
            total_bytes: self.total_pages * BLOCK,
            available_bytes: available * BLOCK,
        }
    }

    /// Changes the size of the disk; what is on it stays, even if it is more.
    pub(super) fn resize(&mut self, total_bytes: u64) {
        self.total_pages = total_bytes / BLOCK;
    }

    /// Counts the used room anew after a change of many files at once.
    pub(super) fn count_used(&mut self) {
        let is_kept = |node: &&Node| node.links > 0 || node.opens > 0;
        // The root was there before the disk was measured.
        self.used_pages = self
            .nodes
            .values()
            .filter(is_kept)
            .map(Node::pages)
            .sum::<u64>()
            - 1;
    }

    fn add_node(&mut self, file: Option<File>, name: Name) -> NodeId {
        let id = NodeId(self.next_node);
        self.next_node += 1;
        self.nodes.insert(
            id,
            Node {
                file,
                links: 1,
                opens: 0,
                name,
            },
        );
        if id != ROOT {
            self.used_pages += 1;
        }
        id
    }

    fn unlink_node(&mut self, id: NodeId) {
        if let Some(node) = self.nodes.get_mut(&id) {
            node.links -= 1;
        }
        self.free_if_gone(id);
    }

    /// Gives back the room of a file that has neither name nor descriptor. The file itself stays: a
    /// power loss may bring its name back.
    fn free_if_gone(&mut self, id: NodeId) {
        if let Some(node) = self.nodes.get(&id)
            && node.links == 0
            && node.opens == 0
        {
            self.used_pages -= node.pages();
        }
    }

    /// Forgets what no power loss can bring back any more.
    fn collect(&mut self) {
        loop {
            let mut referenced: BTreeSet<NodeId> = [ROOT].into();
            referenced.extend(self.names.live.values());
            referenced.extend(self.names.durable.values());
            let steps = self.names.pending.iter().flat_map(|change| &change.steps);
            referenced.extend(steps.filter_map(|(_, node)| *node));
            let open = self.nodes.iter().filter(|(_, node)| node.opens > 0);
            referenced.extend(open.map(|(id, _)| *id));

            let before = self.names.durable.len() + self.names.pending.len();
            self.names
                .durable
                .retain(|(folder, _), _| referenced.contains(folder));
            let is_seen = |step: &(Name, Option<NodeId>)| referenced.contains(&step.0.0);
            self.names
                .pending
                .retain(|change| change.steps.iter().any(is_seen));
            if before == self.names.durable.len() + self.names.pending.len() {
                self.nodes.retain(|id, _| referenced.contains(id));
                return;
            }
        }
    }

    fn is_file(&self, id: NodeId) -> bool {
        self.nodes.get(&id).is_some_and(|node| node.file.is_some())
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

impl Node {
    fn folder(name: Name) -> Self {
        Self {
            file: None,
            links: 0,
            opens: 0,
            name,
        }
    }

    /// What it takes of the disk: one page for itself.
    fn pages(&self) -> u64 {
        1 + self
            .file
            .as_ref()
            .map_or(0, |file| file.live.extents.count())
    }
}

fn in_folder(folder: NodeId) -> std::ops::Range<Name> {
    (folder, String::new())..(NodeId(folder.0 + 1), String::new())
}

fn check_name(name: &str) -> io::Result<()> {
    if name.len() > NAME_BYTES_MAX {
        return Err(Errno::NAMETOOLONG.into());
    }
    if name.contains('\0') {
        return Err(Errno::INVAL.into());
    }
    Ok(())
}

fn check_size(position: u64, length: u64) -> io::Result<()> {
    match position.checked_add(length) {
        Some(end) if end <= FILE_BYTES_MAX => Ok(()),
        _ => Err(Errno::FBIG.into()),
    }
}

const NAME_BYTES_MAX: usize = 255;
/// As ext4 with blocks of 4 KiB.
const FILE_BYTES_MAX: u64 = (1 << 44) - BLOCK;

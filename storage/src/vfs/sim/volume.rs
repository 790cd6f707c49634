//! The file system of the simulated disk: names, files and room, as a kernel keeps them.
//!
//! Nothing here fails but as a real file system does; what interferes from outside is in
//! [`gate`](super::gate).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::file::File;
use super::image::Image;
use super::names::{Name, NameMap, Names, NodeId, ROOT};
use super::pages::BLOCK;
use crate::vfs::Space;

mod files;
mod tree;

/// Names, files and room.
#[derive(Debug, Clone)]
pub(super) struct Volume {
    pub(super) names: Names,
    /// Shared with copies of the disk until one of them changes the file.
    nodes: BTreeMap<NodeId, Arc<Node>>,
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
        let is_open = |(_, node): &(&NodeId, &Arc<Node>)| node.opens > 0;
        let open: Vec<_> = self
            .nodes
            .iter()
            .filter(is_open)
            .map(|(id, _)| *id)
            .collect();
        for id in open {
            if let Some(node) = self.node_mut(id) {
                node.opens = 0;
            }
            self.free_if_gone(id);
        }
    }

    /// The state that a power loss leaves: nothing is pending, and a reader sees what is durable.
    pub(super) fn after_power_loss(
        &self,
        names: &Arc<NameMap>,
        mut survive: impl FnMut(NodeId, &File) -> Image,
    ) -> Self {
        let names = if Arc::ptr_eq(names, &self.names.live) {
            Arc::clone(names)
        } else {
            Arc::new(self.reachable(names))
        };
        let mut links: BTreeMap<NodeId, (u64, &Name)> = BTreeMap::new();
        for (name, id) in names.iter() {
            let (count, last) = links.entry(*id).or_insert((0, name));
            (*count, *last) = (*count + 1, name);
        }
        let mut nodes = BTreeMap::new();
        for (id, node) in &self.nodes {
            if let Some((count, name)) = links.get(id) {
                nodes.insert(*id, node.restarted(*count, name, |file| survive(*id, file)));
            } else if *id == ROOT {
                nodes.insert(*id, Arc::clone(node));
            }
        }
        let mut after = Self {
            names: Names::settled(names),
            nodes,
            ..*self
        };
        after.count_used();
        after
    }

    /// The names that a walk from the root finds.
    fn reachable(&self, names: &NameMap) -> NameMap {
        let mut found = NameMap::new();
        let mut folders = vec![ROOT];
        while let Some(folder) = folders.pop() {
            for (name, id) in names.range(in_folder(folder)) {
                found.insert(name.clone(), *id);
                if !self.is_file(*id) {
                    folders.push(*id);
                }
            }
        }
        found
    }

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
        let is_kept = |node: &&Arc<Node>| node.links > 0 || node.opens > 0;
        // The root was there before the disk was measured.
        self.used_pages = self
            .nodes
            .values()
            .filter(is_kept)
            .map(|node| node.pages())
            .sum::<u64>()
            - 1;
    }

    fn add_node(&mut self, file: Option<File>, name: Name) -> NodeId {
        let id = NodeId(self.next_node);
        self.next_node += 1;
        self.nodes.insert(
            id,
            Arc::new(Node {
                file,
                links: 1,
                opens: 0,
                name,
            }),
        );
        if id != ROOT {
            self.used_pages += 1;
        }
        id
    }

    fn is_file(&self, id: NodeId) -> bool {
        self.nodes.get(&id).is_some_and(|node| node.file.is_some())
    }

    fn node_mut(&mut self, id: NodeId) -> Option<&mut Node> {
        self.nodes.get_mut(&id).map(Arc::make_mut)
    }

    fn unlink_node(&mut self, id: NodeId) {
        if let Some(node) = self.node_mut(id) {
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

            if !self.names.forget_all_but(&referenced) {
                self.nodes.retain(|id, _| referenced.contains(id));
                return;
            }
        }
    }
}

impl Node {
    /// The same after a power loss that left it so many names, `name` the last of them.
    fn restarted(
        self: &Arc<Self>,
        links: u64,
        name: &Name,
        survive: impl FnOnce(&File) -> Image,
    ) -> Arc<Self> {
        let is_settled = self.file.as_ref().is_none_or(File::is_settled);
        if is_settled && self.opens == 0 && self.links == links && self.name == *name {
            return Arc::clone(self);
        }
        let file = self.file.as_ref().map(|file| File::settled(survive(file)));
        Arc::new(Self {
            file,
            links,
            opens: 0,
            name: name.clone(),
        })
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

//! The file system of the simulated disk: names, files and room, as a kernel keeps them.
//!
//! Nothing here fails but as a real file system does; what interferes from outside is in
//! [`gate`](super::gate).

use std::collections::{BTreeMap, BTreeSet};

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
        mut survive: impl FnMut(NodeId, &File) -> Image,
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

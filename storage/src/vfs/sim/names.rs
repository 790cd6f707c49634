//! The names of the simulated disk and their pending changes.
//!
//! A name change is durable when its folder was synced, and drags along what it rests on: the
//! earlier changes of the same names. Changes of different names survive a power loss in any
//! combination. A rename inside one folder happens or does not. A rename of a file into another
//! folder may survive as the new name alone, with the old one still there, but never as neither.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Number of a file or folder. Never used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct NodeId(pub(super) u64);

/// The folder at the top.
pub(super) const ROOT: NodeId = NodeId(0);

/// A folder and a name in it.
pub(super) type Name = (NodeId, String);

/// What the names of all folders stand for.
pub(super) type NameMap = BTreeMap<Name, NodeId>;

/// A change of one or two names that survives as a whole or not at all.
#[derive(Debug, Clone)]
pub(super) struct NameChange {
    /// Number of the operation that made it. A later change of the same operation rests on this
    /// one.
    pub(super) stamp: u64,
    /// What each name stands for afterwards, if anything.
    pub(super) steps: Vec<(Name, Option<NodeId>)>,
}

/// The names that processes see, those that a power loss cannot take, and what lies between.
#[derive(Debug, Clone, Default)]
pub(super) struct Names {
    pub(super) live: Arc<NameMap>,
    pub(super) durable: Arc<NameMap>,
    pub(super) pending: Vec<NameChange>,
}

impl Names {
    /// Names of which none is pending.
    pub(super) fn settled(names: Arc<NameMap>) -> Self {
        Self {
            live: Arc::clone(&names),
            durable: names,
            pending: Vec::new(),
        }
    }

    pub(super) fn get(&self, folder: NodeId, name: &str) -> Option<NodeId> {
        self.live.get(&(folder, name.to_owned())).copied()
    }

    /// The names in a folder, sorted.
    pub(super) fn in_folder(&self, folder: NodeId) -> impl Iterator<Item = (&str, NodeId)> {
        self.live
            .range((folder, String::new())..)
            .take_while(move |((parent, _), _)| *parent == folder)
            .map(|((_, name), node)| (name.as_str(), *node))
    }

    /// Makes a change that a power loss may take back.
    pub(super) fn change(&mut self, change: NameChange) {
        change.apply(Arc::make_mut(&mut self.live));
        self.pending.push(change);
    }

    /// Makes every earlier change in a folder durable.
    pub(super) fn sync(&mut self, folder: NodeId) {
        let kept = self.with_all_they_rest_on(&self.pending_in(folder));
        self.durable = self.apply(&kept);
        self.drop_pending(&kept);
        if self.durable == self.live {
            // One map for both is cheaper to copy.
            self.durable = Arc::clone(&self.live);
        }
    }

    /// A sync that fails: of the changes in the folder those of `kept` are durable, and the others
    /// never will be, although processes go on seeing them.
    pub(super) fn fail_sync(&mut self, folder: NodeId, kept: &BTreeSet<usize>) {
        self.durable = self.apply(&self.with_all_they_rest_on(kept));
        let mut dropped = self.with_all_they_rest_on(&self.pending_in(folder));
        dropped.extend(kept);
        self.drop_pending(&dropped);
    }

    /// The pending changes with a step in a folder.
    pub(super) fn pending_in(&self, folder: NodeId) -> BTreeSet<usize> {
        let is_in = |change: &NameChange| change.steps.iter().any(|((at, _), _)| *at == folder);
        (0..self.pending.len())
            .filter(|index| is_in(&self.pending[*index]))
            .collect()
    }

    /// The durable names if the pending changes of the given numbers survive, which must hold all
    /// that they rest on.
    pub(super) fn apply(&self, kept: &BTreeSet<usize>) -> Arc<NameMap> {
        if kept.is_empty() {
            return Arc::clone(&self.durable);
        }
        let mut names = NameMap::clone(&self.durable);
        for index in kept {
            self.pending[*index].apply(&mut names);
        }
        Arc::new(names)
    }

    /// Adds what each of some pending changes rests on.
    pub(super) fn with_all_they_rest_on(&self, some: &BTreeSet<usize>) -> BTreeSet<usize> {
        let mut kept = some.clone();
        // From the last to the first, so that what is added is looked at as well.
        for index in (0..self.pending.len()).rev() {
            if kept.contains(&index) {
                kept.extend((0..index).filter(|earlier| self.rests_on(index, *earlier)));
            }
        }
        kept
    }

    /// Removes from some pending changes those that rest on a change that is not among them.
    pub(super) fn without_those_that_miss_some(&self, some: &BTreeSet<usize>) -> BTreeSet<usize> {
        let mut kept = BTreeSet::new();
        for index in some {
            if (0..*index).all(|earlier| kept.contains(&earlier) || !self.rests_on(*index, earlier))
            {
                kept.insert(*index);
            }
        }
        kept
    }

    /// Forgets durable names and pending changes in folders that are not among the given ones;
    /// returns whether there were any.
    pub(super) fn forget_all_but(&mut self, folders: &BTreeSet<NodeId>) -> bool {
        let is_known = |name: &Name| folders.contains(&name.0);
        let count = self.pending.len();
        self.pending
            .retain(|change| change.steps.iter().any(|(name, _)| is_known(name)));
        let forgets_names = !self.durable.keys().all(is_known);
        if forgets_names {
            Arc::make_mut(&mut self.durable).retain(|name, _| is_known(name));
        }
        forgets_names || self.pending.len() < count
    }

    fn rests_on(&self, later: usize, earlier: usize) -> bool {
        let (change, before) = (&self.pending[later], &self.pending[earlier]);
        let shares_a_name = change
            .steps
            .iter()
            .any(|(name, _)| before.steps.iter().any(|(other, _)| name == other));
        shares_a_name || change.stamp == before.stamp
    }

    fn drop_pending(&mut self, dropped: &BTreeSet<usize>) {
        let mut index = 0;
        self.pending.retain(|_| {
            index += 1;
            !dropped.contains(&(index - 1))
        });
    }
}

impl NameChange {
    fn apply(&self, names: &mut NameMap) {
        for (name, node) in &self.steps {
            match node {
                Some(node) => drop(names.insert(name.clone(), *node)),
                None => drop(names.remove(name)),
            }
        }
    }
}

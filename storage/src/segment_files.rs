//! Open segment files, in bounded number, and where they lie.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use crate::environment::Environment;
use crate::error::{Operation, StorageError, io_error};
use crate::folder;
use crate::ids::{BrokerId, SegmentRef, TopicId};
use crate::vfs::{OpenMode, VfsFile};

/// Which of a segment's files, and how it is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Face {
    Log,
    LogDirect,
    Index,
}

#[derive(Debug)]
struct OpenFile {
    file: Arc<dyn VfsFile>,
    /// Value of the use counter at the last use.
    used: u64,
}

#[derive(Debug, Default)]
struct OpenFiles {
    files: HashMap<(SegmentRef, Face), OpenFile>,
    use_count: u64,
}

/// Shared by the sequencer, the settle thread and readers.
///
/// At most `open_count_max` files are kept open; whoever holds an `Arc` of one keeps it open longer.
#[derive(Debug)]
pub struct SegmentFiles {
    environment: Environment,
    broker_id: BrokerId,
    /// Folder name of each topic that has one.
    topic_folders: RwLock<HashMap<TopicId, Arc<str>>>,
    open: Mutex<OpenFiles>,
    open_count_max: usize,
    /// Whether files are opened to be read and nothing else.
    is_read_only: bool,
}

impl SegmentFiles {
    /// Learns the topics' folders from the disk.
    ///
    /// # Errors
    /// [`StorageError::Io`] if they cannot be listed.
    pub(crate) fn open(
        environment: Environment,
        broker_id: BrokerId,
        open_count_max: usize,
    ) -> Result<Self, StorageError> {
        let entries = environment
            .vfs
            .list(Path::new(folder::TOPICS))
            .map_err(io_error(Operation::List, folder::TOPICS))?;
        let mut topic_folders = HashMap::new();
        for entry in entries {
            match folder::parse_topic_folder(&entry.name) {
                Some(topic) => drop(topic_folders.insert(topic, entry.name.into())),
                None => tracing::warn!(name = entry.name, "unknown name in topics left alone"),
            }
        }
        Ok(Self {
            environment,
            broker_id,
            topic_folders: RwLock::new(topic_folders),
            open: Mutex::default(),
            open_count_max,
            is_read_only: false,
        })
    }

    /// As [`SegmentFiles::open`], for who only looks: nothing can be written through it.
    ///
    /// # Errors
    /// As [`SegmentFiles::open`].
    pub(crate) fn open_read_only(
        environment: Environment,
        broker_id: BrokerId,
        open_count_max: usize,
    ) -> Result<Self, StorageError> {
        let files = Self::open(environment, broker_id, open_count_max)?;
        Ok(Self {
            is_read_only: true,
            ..files
        })
    }

    /// Segments that may be made at once, so that their descriptors do not come on top of many others.
    pub fn batch_count_max(&self) -> usize {
        (self.open_count_max / 8).max(1)
    }

    pub(crate) fn environment(&self) -> &Environment {
        &self.environment
    }

    pub(crate) fn broker_id(&self) -> BrokerId {
        self.broker_id
    }

    /// The folder of a topic, if it has one.
    pub(crate) fn topic_folder(&self, topic: TopicId) -> Option<Arc<str>> {
        let folders = self
            .topic_folders
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        folders.get(&topic).map(Arc::clone)
    }

    pub(crate) fn add_topic_folder(&self, topic: TopicId, folder_name: &str) {
        let mut folders = self
            .topic_folders
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        folders.insert(topic, folder_name.into());
    }

    pub(crate) fn remove_topic_folder(&self, topic: TopicId) {
        let mut folders = self
            .topic_folders
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        folders.remove(&topic);
    }

    /// Path of a segment's log file; of a folder that does not exist if the topic has none.
    pub fn log_path(&self, segment: SegmentRef) -> PathBuf {
        folder::segment_log(&self.folder_or_id(segment), segment)
    }

    /// Path of a segment's index file.
    pub fn index_path(&self, segment: SegmentRef) -> PathBuf {
        folder::segment_index(&self.folder_or_id(segment), segment)
    }

    fn folder_or_id(&self, segment: SegmentRef) -> Arc<str> {
        let topic = segment.partition.topic;
        self.topic_folder(topic)
            .unwrap_or_else(|| topic.to_string().into())
    }

    /// The log file, through the page cache.
    ///
    /// # Errors
    /// [`StorageError::Io`] if it cannot be opened.
    pub(crate) fn log(&self, segment: SegmentRef) -> Result<Arc<dyn VfsFile>, StorageError> {
        self.get(segment, Face::Log)
    }

    /// The log file, past the page cache.
    ///
    /// # Errors
    /// [`StorageError::Io`] if it cannot be opened.
    pub(crate) fn direct(&self, segment: SegmentRef) -> Result<Arc<dyn VfsFile>, StorageError> {
        self.get(segment, Face::LogDirect)
    }

    /// The index file.
    ///
    /// # Errors
    /// [`StorageError::Io`] if it cannot be opened.
    pub(crate) fn index(&self, segment: SegmentRef) -> Result<Arc<dyn VfsFile>, StorageError> {
        self.get(segment, Face::Index)
    }

    /// Forgets the open files of a segment that is about to be removed.
    pub(crate) fn close(&self, segment: SegmentRef) {
        let mut open = self.lock();
        for face in [Face::Log, Face::LogDirect, Face::Index] {
            open.files.remove(&(segment, face));
        }
    }

    fn get(&self, segment: SegmentRef, face: Face) -> Result<Arc<dyn VfsFile>, StorageError> {
        let mut open = self.lock();
        open.use_count += 1;
        let used = open.use_count;
        if let Some(found) = open.files.get_mut(&(segment, face)) {
            found.used = used;
            return Ok(Arc::clone(&found.file));
        }
        drop(open);
        let (path, mode) = match face {
            Face::Log => (self.log_path(segment), OpenMode::Write),
            Face::LogDirect => (self.log_path(segment), OpenMode::WriteDirect),
            Face::Index => (self.index_path(segment), OpenMode::Write),
        };
        let mode = match self.is_read_only {
            true => OpenMode::Read,
            false => mode,
        };
        let opened = self.environment.vfs.open(&path, mode);
        let file = opened.map_err(io_error(Operation::Open, path))?;
        Ok(self.keep(segment, face, file))
    }

    fn keep(&self, segment: SegmentRef, face: Face, file: Arc<dyn VfsFile>) -> Arc<dyn VfsFile> {
        let mut open = self.lock();
        if open.files.len() >= self.open_count_max {
            let oldest = open
                .files
                .iter()
                .min_by_key(|(_, file)| file.used)
                .map(|(key, _)| *key);
            oldest.map(|key| open.files.remove(&key));
        }
        let used = open.use_count;
        match open.files.entry((segment, face)) {
            // Another thread opened it meanwhile: all share one descriptor.
            Entry::Occupied(found) => Arc::clone(&found.get().file),
            Entry::Vacant(place) => Arc::clone(&place.insert(OpenFile { file, used }).file),
        }
    }

    fn lock(&self) -> MutexGuard<'_, OpenFiles> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

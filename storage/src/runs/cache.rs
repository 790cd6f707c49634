//! Blocks of runs in memory, the least useful of which go first.

use std::hash::{BuildHasherDefault, DefaultHasher};
use std::sync::Arc;

use quick_cache::sync::{Cache, DefaultLifecycle};
use quick_cache::{OptionsBuilder, Weighter};

use crate::format::run_file::{DATA_BLOCK_BYTES, DataBlock, PartitionIndex};
use crate::format::usize_of;

/// Parts with a lock of their own. A block that is larger than a part is not kept.
const SHARDS: usize = 4;
/// What a block takes beside its content.
const OVERHEAD_BYTES: u64 = 128;

/// A block that was checked and taken apart.
#[derive(Debug, Clone)]
pub(super) enum CachedBlock {
    Data(DataBlock),
    Index(Arc<PartitionIndex>),
}

/// A block's run, by its number, and position.
type BlockId = (u64, u64);

#[derive(Debug, Clone)]
struct BlockWeighter;

impl Weighter<BlockId, CachedBlock> for BlockWeighter {
    fn weight(&self, _: &BlockId, block: &CachedBlock) -> u64 {
        let bytes = match block {
            CachedBlock::Data(block) => block.memory_bytes(),
            CachedBlock::Index(index) => index.memory_bytes(),
        };
        bytes as u64 + OVERHEAD_BYTES
    }
}

type Blocks = Cache<
    BlockId,
    CachedBlock,
    BlockWeighter,
    // Without random keys, so that a simulation reads the same blocks each time. Whoever chooses block
    // positions to collide owns the disk.
    BuildHasherDefault<DefaultHasher>,
    DefaultLifecycle<BlockId, CachedBlock>,
>;

/// Shared by all runs of a folder. Bounded in bytes.
#[derive(Debug)]
pub(super) struct BlockCache {
    blocks: Blocks,
}

impl BlockCache {
    pub(super) fn new(bytes_max: u64) -> Self {
        let block_count = usize_of(bytes_max / DATA_BLOCK_BYTES as u64).max(SHARDS);
        let mut options = OptionsBuilder::new();
        options
            .shards(SHARDS)
            .estimated_items_capacity(block_count)
            .weight_capacity(bytes_max);
        #[expect(clippy::expect_used, reason = "both capacities are given")]
        let options = options.build().expect("the options are complete");
        let (weighter, hasher) = (BlockWeighter, BuildHasherDefault::default());
        let lifecycle = DefaultLifecycle::default();
        Self {
            blocks: Cache::with_options(options, weighter, hasher, lifecycle),
        }
    }

    pub(super) fn get(&self, run: u64, position: u64) -> Option<CachedBlock> {
        self.blocks.get(&(run, position))
    }

    pub(super) fn put(&self, run: u64, position: u64, block: CachedBlock) {
        self.blocks.insert((run, position), block);
    }

    /// Bytes that are held.
    pub(super) fn bytes(&self) -> u64 {
        self.blocks.weight()
    }
}

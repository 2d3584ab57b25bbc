//! The part of a write-ahead log behind the last frame that connections read.
//!
//! To commit, SQLite appends the frames of a transaction to the log (`-wal`), and waits for the disk. Then it publishes
//! the number of frames in the wal-index (`-shm`). If the process is killed before the last step, or waiting for the disk
//! fails, the log contains a whole transaction that no connection reads. The next writer overwrites it. If all processes
//! end before that, the next opening recovers the index from the log, and the transaction is committed.
//!
//! The format of the log: <https://www.sqlite.org/fileformat2.html#the_write_ahead_log>.

use std::cell::{Cell, OnceCell};
use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use crate::error::{Error, ErrorKind, Result};

/// The length of the log's own header.
const LOG_HEADER: u64 = 32;
/// The length of a frame's header: the page's number and the size of the database, the salts, the checksum.
const FRAME_HEADER: u64 = 24;

/// Two numbers of four bytes.
type Pair = [u8; 8];

pub(super) struct Log {
    path: PathBuf,
    /// Closing it releases none of SQLite's locks: they are on other files.
    file: OnceCell<File>,
    /// The last frame header that was read and then synced to disk.
    on_disk: Cell<Option<[Pair; 3]>>,
}

impl Log {
    /// Returns the log of the database at this path.
    pub(super) fn of(database: &Path) -> Self {
        let mut path = database.to_owned().into_os_string();
        path.push("-wal");
        Log { path: path.into(), file: OnceCell::new(), on_disk: Cell::new(None) }
    }

    /// Returns whether a recovery of the log would read more frames than the published ones. If `survives_power_loss` is
    /// set, `false` also holds after a power loss.
    ///
    /// A transaction that another process is just committing also counts as unread.
    pub(super) fn has_frames_after(&self, published: u64, survives_power_loss: bool) -> Result<bool> {
        self.look(published, survives_power_loss).map_err(|error| {
            let message = format!("{} cannot be read: {error}", self.path.display());
            Error::new(ErrorKind::Io, message).with_source(error)
        })
    }

    fn look(&self, published: u64, survives_power_loss: bool) -> io::Result<bool> {
        let Some(file) = self.file()? else { return Ok(false) };
        let mut log = [Pair::default(); 4];
        if !read(file, 0, log.as_flattened_mut())? {
            return Ok(false);
        }
        let [[_, _, _, magic, ..], page_size, log_salts, log_sum] = log;
        let [page_size, _] = numbers(true, page_size);
        let start = |frame: u64| LOG_HEADER + (FRAME_HEADER + u64::from(page_size)) * frame;
        let mut next = [Pair::default(); 3];
        if !read(file, start(published), next.as_flattened_mut())? {
            return Ok(false);
        }
        // A frame continues the one before it, and the first frame continues the log's header.
        let mut before = [Pair::default(), log_salts, log_sum];
        if let Some(last) = published.checked_sub(1) {
            read(file, start(last), before.as_flattened_mut())?;
        }
        let ([head, salts, sum], [_, salts_before, sum_before]) = (next, before);
        let has_salts = salts == salts_before;
        if has_salts {
            let mut page = vec![0; page_size as usize];
            let is_whole = read(file, start(published) + FRAME_HEADER, &mut page)?;
            // The magic number of the log is odd if the checksums are over big-endian numbers.
            let add = |sum, bytes| checksum(magic % 2 == 1, sum, bytes);
            if is_whole && add(add(numbers(true, sum_before), &head), &page) == numbers(true, sum) {
                return Ok(true);
            }
        }
        // Recovery ends at this frame. But the disk may contain older bytes than the cache. These can be a whole
        // transaction that another process has begun to overwrite, here or in the header of a restarted log. Therefore
        // sync first.
        if survives_power_loss && (has_salts || published == 0) && self.on_disk.get() != Some(next) {
            file.sync_data()?;
            self.on_disk.set(Some(next));
        }
        Ok(false)
    }

    /// Returns the log, if there is one yet.
    fn file(&self) -> io::Result<Option<&File>> {
        if self.file.get().is_none() {
            match File::open(&self.path) {
                Ok(file) => drop(self.file.set(file)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                Err(error) => return Err(error),
            }
        }
        Ok(self.file.get())
    }
}

/// Fills the buffer from a position in the file. Returns whether the file is long enough.
fn read(mut file: &File, from: u64, buffer: &mut [u8]) -> io::Result<bool> {
    file.seek(SeekFrom::Start(from))?;
    match file.read_exact(buffer) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

/// Continues a checksum over these bytes.
fn checksum(is_big_endian: bool, sum: [u32; 2], bytes: &[u8]) -> [u32; 2] {
    bytes.as_chunks().0.iter().fold(sum, |[first, second], &pair| {
        let [one, other] = numbers(is_big_endian, pair);
        let first = first.wrapping_add(one).wrapping_add(second);
        [first, second.wrapping_add(other).wrapping_add(first)]
    })
}

fn numbers(is_big_endian: bool, [a, b, c, d, e, f, g, h]: Pair) -> [u32; 2] {
    let number = if is_big_endian { u32::from_be_bytes } else { u32::from_le_bytes };
    [number([a, b, c, d]), number([e, f, g, h])]
}

//! The file that a trial's state is in: two slots that are written in turn, in place, so that saving needs no room on the
//! disk, and a torn one leaves the one before.

use firewarden_change::trial::Record;
use sha2::{Digest, Sha256};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// The size of a slot in bytes: what disks and page cache write in one go.
const SLOT: usize = 4096;
const MAGIC: &[u8; 8] = b"fwtrial1";
/// Magic, sequence number, length, and the digest of all but itself.
const HEADER: usize = 8 + 8 + 4 + 32;

/// The content of a new file.
pub fn empty() -> Vec<u8> {
    vec![0; 2 * SLOT]
}

/// The state file of a trial.
pub struct Slots {
    file: File,
}

impl Slots {
    /// Opens it for writing.
    pub fn open(path: &Path) -> io::Result<Slots> {
        Ok(Slots { file: OpenOptions::new().read(true).write(true).open(path)? })
    }

    /// The last record that was saved whole, and its number.
    pub fn last(&self) -> io::Result<Option<(u64, Record)>> {
        let mut newest: Option<(u64, Record)> = None;
        for slot in 0..2 {
            let mut bytes = vec![0; SLOT];
            if let Err(error) = self.file.read_exact_at(&mut bytes, slot * SLOT as u64) {
                if error.kind() == io::ErrorKind::UnexpectedEof {
                    continue;
                }
                return Err(error);
            }
            let read = decode(&bytes);
            if read.as_ref().map(|(number, _)| *number) > newest.as_ref().map(|(number, _)| *number) {
                newest = read;
            }
        }
        Ok(newest)
    }

    /// Saves a record durably in the slot that doesn't hold the last one.
    pub fn save(&self, record: &Record) -> io::Result<()> {
        let number = self.last()?.map_or(0, |(number, _)| number) + 1;
        let bytes = encode(number, record)?;
        self.file.write_all_at(&bytes, (number % 2) * SLOT as u64)?;
        self.file.sync_data()
    }
}

/// The last record in a state file.
pub fn read(path: &Path) -> io::Result<Option<Record>> {
    Ok(Slots { file: File::open(path)? }.last()?.map(|(_, record)| record))
}

fn encode(number: u64, record: &Record) -> io::Result<Vec<u8>> {
    let text = serde_json::to_vec(record)?;
    let length = u32::try_from(text.len()).unwrap_or(u32::MAX);
    let mut bytes = Vec::with_capacity(SLOT);
    bytes.extend(MAGIC);
    bytes.extend(number.to_le_bytes());
    bytes.extend(length.to_le_bytes());
    let digest = digest(&bytes, &text);
    bytes.extend(digest);
    bytes.extend(text);
    if bytes.len() > SLOT {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the record doesn't fit its slot"));
    }
    bytes.resize(SLOT, 0);
    Ok(bytes)
}

fn decode(bytes: &[u8]) -> Option<(u64, Record)> {
    let rest = bytes.strip_prefix(MAGIC)?;
    let (number, rest) = rest.split_first_chunk::<8>()?;
    let (length, rest) = rest.split_first_chunk::<4>()?;
    let (said, rest) = rest.split_first_chunk::<32>()?;
    let text = rest.get(..u32::from_le_bytes(*length) as usize)?;
    let header = bytes.get(..HEADER - 32)?;
    if digest(header, text) != *said {
        return None;
    }
    Some((u64::from_le_bytes(*number), serde_json::from_slice(text).ok()?))
}

fn digest(header: &[u8], text: &[u8]) -> [u8; 32] {
    let mut digest = Sha256::new();
    digest.update(header);
    digest.update(text);
    digest.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use firewarden_change::trial::{Asker, Outcome, Phase, Reason};

    fn record(deadline: u64, phase: Phase) -> Record {
        Record { boot_id: "b".repeat(36), deadline, phase, note: None }
    }

    #[test]
    fn a_torn_slot_leaves_the_record_before() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state");
        std::fs::write(&path, empty()).unwrap();
        assert_eq!(read(&path).unwrap(), None);
        let slots = Slots::open(&path).unwrap();
        slots.save(&record(1, Phase::Armed)).unwrap();
        slots.save(&record(2, Phase::Applying)).unwrap();
        assert_eq!(read(&path).unwrap(), Some(record(2, Phase::Applying)));
        let whole = std::fs::read(&path).unwrap();
        // The third record goes where the first was; cut anywhere, the second holds.
        slots.save(&record(3, Phase::Applied { holds: None })).unwrap();
        let after = std::fs::read(&path).unwrap();
        for cut in (0..SLOT).step_by(61) {
            let mut torn = whole.clone();
            torn[SLOT..SLOT + cut].copy_from_slice(&after[SLOT..SLOT + cut]);
            std::fs::write(&path, torn).unwrap();
            let read = read(&path).unwrap().unwrap();
            assert!(read.deadline == 2 || read.deadline == 3, "{cut}");
        }
        assert_eq!(std::fs::metadata(&path).unwrap().len(), 2 * SLOT as u64);
    }

    #[test]
    fn the_longest_record_fits() {
        let long = "\u{1F525}\"\\\u{1}".repeat(4000);
        let asker = || Asker::new(&long, &long, &long);
        let holds = Err(firewarden_change::trial::clip(&long));
        let outcome = Outcome::Abandoned { asker: asker(), reason: Reason::Asked(asker()), holds };
        let mut longest = record(u64::MAX, Phase::Done(outcome));
        longest.note = Some(firewarden_change::trial::clip(&long));
        let bytes = encode(u64::MAX, &longest).unwrap();
        assert_eq!(decode(&bytes), Some((u64::MAX, longest)));
    }
}

//! What the follower does with archives, and with what is known of files whose place is another's by now. Enters: an archive that turned
//! up or left. Leaves: marks. What an archive holds is for [`Archives`](super::Archives).

use std::{io, path::Path};

use super::{Candidate, Follower};
use crate::{
    sources::tail::{
        GapReason, LogInput, Mark, Out, Stopped,
        archive::{Around, Left},
        departed::Departed,
        record::{FileId, Record},
    },
    units::Timestamp,
};

impl Follower {
    /// Another file has the place of a departed one, or it was truncated while nobody looked.
    pub(super) fn displace(&mut self, key: &str, id: FileId, path: &Path, mark: &mut Mark) {
        let Some(departed) = self.departures.take(key) else { return };
        let now = mark.at;
        mark.forgotten.push(key.to_owned());
        if departed.record.ended {
            self.archives.finished.add(departed.record, now, mark);
            return;
        }
        let same_name = path.to_string_lossy() == departed.record.path;
        let reason = if same_name { GapReason::Truncated } else { GapReason::Gone };
        let departed = Departed { reason, ..departed };
        mark.checkpoints.push(self.departures.add(id, departed, now, self.settings.rotate_wait_ns));
    }

    pub(super) fn adopt_archive(
        &mut self,
        candidate: Candidate,
        now: Timestamp,
        out: &mut Out<'_>,
    ) -> Result<io::Result<()>, Stopped> {
        let Candidate { id, found, file, metadata } = candidate;
        let max = self.settings.max_files;
        if self.archives.count() >= max {
            return Ok(Err(io::Error::other(format!("there are {max} compressed files already"))));
        }
        let mut own: Option<(String, Record)> = None;
        let here = self.departures.at(id);
        for key in &here {
            let Some(Departed { record, .. }) = self.departures.get(key) else { continue };
            let is_farther = own.as_ref().is_none_or(|(_, own)| record.position.offset >= own.position.offset);
            match record.packed.as_ref().map(|packing| packing.is_of(&file, metadata.len())) {
                Some(Err(error)) => return Ok(Err(error)),
                Some(Ok(true)) if is_farther => own = Some((key.clone(), record.clone())),
                Some(Ok(_)) | None => {}
            }
        }
        let path = found.path.clone();
        let is_own = |key: &String| own.as_ref().is_some_and(|(own, _)| own == key);
        let (known, others): (Vec<_>, Vec<_>) = here.iter().partition(|key| is_own(key));
        if let Err(error) = self.archives.add((id, found), file, own, now) {
            return Ok(Err(error));
        }
        for key in known {
            self.departures.take(key);
        }
        for key in others {
            let Some(Departed { record, .. }) = self.departures.get(key) else { continue };
            let mut mark = Mark { file: record.shown(), ..Mark::at(now) };
            self.displace(key, id, &path, &mut mark);
            out.input(LogInput::Mark(mark))?;
        }
        self.copies.forget(id);
        Ok(Ok(()))
    }

    /// An archive is gone, or another file has its place.
    pub(super) fn left(&mut self, left: Left, now: Timestamp, out: &mut Out<'_>) -> Result<(), Stopped> {
        let Some((key, record)) = left.own else { return Ok(()) };
        let mut mark = Mark { file: record.shown(), forgotten: vec![key], ..Mark::at(now) };
        if record.ended {
            self.archives.finished.add(record, now, &mut mark);
        } else {
            let departed = Departed { record, reason: GapReason::Gone, given_up_at: None, rest: Vec::new() };
            mark.checkpoints.push(self.departures.add(left.id, departed, now, self.settings.rotate_wait_ns));
        }
        out.input(LogInput::Mark(mark))
    }

    pub(super) fn unpack(&mut self, now: Timestamp, out: &mut Out<'_>) -> Result<bool, Stopped> {
        let Self { settings, groups, files, departures, archives, rates, buffer, stats, .. } = self;
        let mut around = Around { files, departures, settings, groups, rates, stats, buffer };
        archives.turn(&mut around, now, out)
    }
}

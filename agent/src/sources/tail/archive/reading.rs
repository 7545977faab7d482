//! The archive that is open, a block at a time: judged, gone to where it goes on, told. Enters: its contents. Leaves: [`LogInput`]s.

use std::{
    io,
    sync::{Arc, atomic::Ordering::Relaxed},
};

use super::{Archive, Around, Phase, Reading, State, group_of};
use crate::{
    sources::{
        files::Caps,
        tail::{
            LogInput, Mark, Out, Stopped, TailNotice,
            finished::Finished,
            follow::send,
            judge::{Candidate, Judged, Place},
            packed::{Contents, Stop, Telling},
            record::Consumed,
        },
    },
    units::Timestamp,
};

impl Reading {
    /// A block. Nothing when it is over.
    pub(super) fn turn(
        mut self,
        archive: &mut Archive,
        finished: &mut Finished,
        caps: Caps,
        (around, now): (&mut Around<'_>, Timestamp),
        out: &mut Out<'_>,
    ) -> Result<io::Result<Option<Self>>, Stopped> {
        match self.phase {
            Phase::Judging(ref mut judging) => {
                let judged = match judging.turn(&mut self.contents, around.buffer, around.files) {
                    Ok(judged) => judged,
                    Err(error) => return Ok(Err(error)),
                };
                let seen = &self.contents.seen;
                match judged {
                    Judged::NotYet => {}
                    Judged::Again => return Ok(Ok(None)),
                    Judged::Changes => {
                        archive.wait(now);
                        return Ok(Ok(None));
                    }
                    Judged::Copy { of, life, whole } => {
                        let Some(file) = around.files.get(&of) else { return Ok(Ok(None)) };
                        let (path, service) = (&file.shown.path, &file.shown.origin.service);
                        let holds = seen.record(path, service, seen.position.offset, now, true);
                        let holds = Box::new(holds.in_archive(self.packing));
                        if archive.stand == self.stand {
                            archive.state = State::Copy { of, life, holds, whole };
                        }
                        return Ok(Ok(None));
                    }
                    Judged::Told(why) => {
                        let record = archive.own.as_ref().map(|(_, record)| record);
                        let shown = archive.shown(record, group_of(archive, around.groups));
                        let (key, limits) = (archive.key(now), around.settings.cut);
                        let held = Telling::new(key, Arc::new(shown), seen.clone(), self.packing, limits, &[]);
                        if archive.stand == self.stand {
                            archive.state = State::Damaged { held: Box::new(held), why };
                        }
                        return Ok(Ok(None));
                    }
                    Judged::From(candidate) => {
                        let from = candidate.as_ref().map_or(0, |candidate| candidate.record.position.offset);
                        if from != seen.position.offset {
                            self.contents = match Contents::open(&self.file, caps) {
                                Ok(contents) => contents,
                                Err(error) => return Ok(Err(error)),
                            };
                        }
                        match candidate {
                            Some(candidate) => self.phase = Phase::Going(candidate),
                            None => return self.tell(None, archive, finished, (around, now), out).map(Ok),
                        }
                    }
                }
                Ok(Ok(Some(self)))
            }
            Phase::Going(ref to) => {
                let left = to.record.position.offset.saturating_sub(self.contents.seen.position.offset);
                let (_, stop) = self.contents.pass(around.buffer, left);
                let seen = &self.contents.seen;
                if seen.position.offset < to.record.position.offset && stop == Stop::Full {
                    return Ok(Ok(Some(self)));
                }
                if seen.is_at(&to.record) {
                    let to = to.clone();
                    return self.tell(Some(&to), archive, finished, (around, now), out).map(Ok);
                }
                // Not what it was when it was judged.
                archive.wait(now);
                Ok(Ok(None))
            }
            Phase::Telling(_) => self.go_on(archive, (around, now), out).map(Ok),
        }
    }

    /// A block is told.
    fn go_on(
        mut self,
        archive: &mut Archive,
        (around, now): (&mut Around<'_>, Timestamp),
        out: &mut Out<'_>,
    ) -> Result<Option<Self>, Stopped> {
        let Phase::Telling(ref mut telling) = self.phase else { return Ok(Some(self)) };
        let mut blocks = Vec::new();
        let (count, stop) = telling.read(&mut self.contents, around.buffer, now, &mut blocks);
        around.stats.read_bytes.fetch_add(count as u64, Relaxed);
        if let Some(rate) = around.rates.get_mut(archive.group) {
            rate.pass(count as u64, now);
        }
        let is_same = archive.stand == self.stand;
        if stop == Stop::End {
            telling.finish(now, &mut blocks);
        }
        let record = telling.record(now, stop == Stop::End);
        archive.own = Some((telling.key.clone(), record.clone()));
        send(blocks, out)?;
        match stop {
            Stop::Full => return Ok(Some(self)),
            Stop::End => {
                let mark = Mark { file: Arc::clone(&telling.shown), ..Mark::at(now) };
                let checkpoints = vec![record.checkpoint(telling.key.clone())];
                if is_same {
                    archive.state = State::Done;
                }
                out.input(LogInput::Mark(Mark { checkpoints, ..mark }))?;
            }
            Stop::Damage(why) if is_same => {
                let Phase::Telling(held) = self.phase else { return Ok(None) };
                archive.state = State::Damaged { held, why };
            }
            // It has grown since.
            Stop::Damage(_) => archive.wait(now),
        }
        Ok(None)
    }

    /// Where it goes on is clear, and the contents stand there.
    fn tell(
        mut self,
        from: Option<&Candidate>,
        archive: &mut Archive,
        finished: &mut Finished,
        (around, now): (&mut Around<'_>, Timestamp),
        out: &mut Out<'_>,
    ) -> Result<Option<Self>, Stopped> {
        let mut mark = Mark::at(now);
        let taken = match from.map(|candidate| &candidate.place) {
            None | Some(Place::Own | Place::Closed | Place::Sibling) => true,
            Some(Place::Departed(key)) => {
                mark.forgotten.push(key.clone());
                around.departures.take(key).is_some()
            }
            Some(Place::Finished(key)) => {
                mark.forgotten.push(key.clone());
                finished.take(key).is_some()
            }
        };
        if !taken {
            // Somebody else has gone on with it meanwhile.
            archive.wait(now);
            return Ok(None);
        }
        let group = group_of(archive, around.groups);
        let record = from.map(|candidate| &candidate.record);
        let shown = Arc::new(archive.shown(record, group));
        let consumed = record.map_or_else(Consumed::nothing, |record| self.contents.seen.at(record));
        let key = archive.key(now);
        let start = archive.beginning.bytes();
        let telling = Telling::new(key, shown, consumed, self.packing.clone(), around.settings.cut, start);
        let own = telling.record(now, false);
        let path = archive.path.clone();
        let from = own.position.offset;
        if !mark.forgotten.is_empty() {
            mark.file = Arc::clone(&telling.shown);
            mark.checkpoints.push(own.checkpoint(telling.key.clone()));
            out.input(LogInput::Mark(mark))?;
        }
        archive.own = Some((telling.key.clone(), own));
        self.phase = Phase::Telling(Box::new(telling));
        (out.notice)(TailNotice::Following { path, from });
        Ok(Some(self))
    }
}

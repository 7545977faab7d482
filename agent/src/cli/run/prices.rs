//! Prices while the agent runs. Enters: the config, and the file of a newer catalogue when it has changed. Leaves: a price book with
//! it, or the old catalogue and a line on standard error. It fetches nothing.

use std::{
    fs,
    io::Read as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

use super::notices::notice;
use crate::{
    config::Config,
    exchange::{Catalogue, PriceBook},
    units::Timestamp,
};

/// No catalogue is larger: that of November 2026 has 0.8 MB.
const FILE_BYTES_MAX: u64 = 32 << 20;

/// The catalogue in use, and what is known of its file.
pub(super) struct PriceSource {
    catalogue: Catalogue,
    file: Option<PathBuf>,
    interval_ns: u64,
    /// Length and time of the file when it was last read, taken or not.
    seen: Option<(u64, Option<SystemTime>)>,
    looked_at: Timestamp,
}

impl PriceSource {
    pub(super) fn new(config: &Config, now: Timestamp) -> Self {
        let mut source =
            Self { catalogue: Catalogue::bundled(), file: None, interval_ns: 0, seen: None, looked_at: now };
        source.configure(config, now);
        source
    }

    /// Goes on by another config, and looks at its file at once.
    pub(super) fn configure(&mut self, config: &Config, now: Timestamp) {
        let file = config.prices.catalogue_file.as_ref().map(|file| file.get().to_owned());
        if self.file != file {
            (self.file, self.seen) = (file, None);
            if self.file.is_none() {
                self.catalogue = Catalogue::bundled();
            }
        }
        self.interval_ns = config.prices.refresh_interval.nanos();
        self.look(now);
    }

    /// True when it is time to look, and there was another catalogue.
    pub(super) fn refresh(&mut self, now: Timestamp) -> bool {
        now.since_ns(self.looked_at) >= self.interval_ns && self.look(now)
    }

    /// The book of these prices.
    pub(super) fn book(&self, config: &Config) -> Arc<PriceBook> {
        Arc::new(PriceBook::new(config.price_rules(), self.catalogue.clone()))
    }

    fn look(&mut self, now: Timestamp) -> bool {
        self.looked_at = now;
        let Some(file) = &self.file else { return false };
        let stamp = fs::metadata(file).ok().map(|about| (about.len(), about.modified().ok()));
        if stamp.is_some() && stamp == self.seen {
            return false;
        }
        self.seen = stamp;
        match read(file, &self.catalogue) {
            Ok(catalogue) => {
                let (version, models) = (catalogue.version(), catalogue.len());
                notice!("prices of {models} models from {}: {version}", file.display());
                self.catalogue = catalogue;
                true
            }
            Err(why) => {
                let (file, old) = (file.display(), self.catalogue.version());
                notice!("prices of {file} are NOT taken, those of {old} stay: {why}");
                false
            }
        }
    }
}

fn read(file: &Path, old: &Catalogue) -> Result<Catalogue, String> {
    let mut text = Vec::new();
    let opened = fs::File::open(file).map_err(|error| error.to_string())?;
    let length = opened.take(FILE_BYTES_MAX + 1).read_to_end(&mut text).map_err(|error| error.to_string())?;
    if length as u64 > FILE_BYTES_MAX {
        return Err(format!("it is larger than {FILE_BYTES_MAX} bytes"));
    }
    let new = Catalogue::from_json(&text).map_err(|error| error.to_string())?;
    new.replaces(old).map_err(|error| error.to_string())?;
    Ok(new)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: u64 = 60 * 1_000_000_000;

    /// The crate's own catalogue has no text at hand, so a small one is made, and one is tried that lost everything else.
    #[test]
    fn a_catalogue_that_lost_its_models_is_not_taken_and_a_file_is_read_once() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("prices.json");
        let provider = r#"[{"id":"acme","name":"Acme","api_pattern":"https://llm[.]acme[.]example","models":[{"id":"a-1","match":{"equals":"a-1"},"prices":{"input_mtok":1,"output_mtok":2}}]}]"#;
        fs::write(&file, provider).unwrap();
        let text = format!("[prices]\ncatalogue_file = {file:?}\nrefresh_interval = \"1m\"\n");
        let config = Config::parse("x", &text).unwrap();
        let bundled = Catalogue::bundled();
        assert!(read(&file, &bundled).unwrap_err().contains("20 %"), "it lost all the others");
        let mut source = PriceSource::new(&config, Timestamp(0));
        assert_eq!(source.catalogue.version(), bundled.version());
        assert!(!source.refresh(Timestamp(MINUTE)), "it has not changed");
        // Beside one like it, it is taken.
        let small = Catalogue::from_json(provider.as_bytes()).unwrap();
        source.catalogue = small.clone();
        fs::write(&file, format!("{provider}\n")).unwrap();
        assert!(!source.refresh(Timestamp(MINUTE + 1)), "not yet");
        assert!(source.refresh(Timestamp(2 * MINUTE)));
        assert_ne!(source.catalogue.version(), small.version());
        fs::write(&file, "no JSON").unwrap();
        let before = source.catalogue.version().to_owned();
        assert!(!source.refresh(Timestamp(4 * MINUTE)));
        fs::remove_file(&file).unwrap();
        assert!(!source.refresh(Timestamp(6 * MINUTE)));
        assert_eq!(source.catalogue.version(), before);
    }
}

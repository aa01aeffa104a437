//! Inputs that are kept: one file each, in a folder for each target.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::path::PathBuf;

use crate::targets::Target;

/// More are not needed to change further.
const MOST: usize = 2000;
/// More are not worth their place in the repository.
const MOST_FILES: usize = 40;
/// Larger ones neither.
const LARGEST_FILE: usize = 2048;

pub(crate) struct Corpus {
    folder: PathBuf,
    inputs: Vec<Vec<u8>>,
    files: usize,
}

impl Corpus {
    /// What is kept, and what the target brings along.
    pub(crate) fn open(target: &Target) -> Corpus {
        let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/corpus").join(target.name);
        let mut files: Vec<PathBuf> =
            folder.read_dir().map(|entries| entries.map(|entry| entry.unwrap().path()).collect()).unwrap_or_default();
        files.sort();
        let mut inputs: Vec<Vec<u8>> = files.iter().map(|file| std::fs::read(file).unwrap()).collect();
        inputs.extend((target.seeds)());
        assert!(!inputs.is_empty(), "{} has nothing to begin with", target.name);
        Corpus { folder, inputs, files: files.len() }
    }

    pub(crate) fn inputs(&self) -> &[Vec<u8>] {
        &self.inputs
    }

    /// Keeps an input, and writes it down where that is wanted and there is room.
    pub(crate) fn add(&mut self, input: Vec<u8>, write: bool) {
        if write && input.len() <= LARGEST_FILE && self.files < MOST_FILES {
            self.files += 1;
            self.write("", &input);
        }
        if self.inputs.len() < MOST {
            self.inputs.push(input);
        }
    }

    /// Writes down what failed; returns where.
    pub(crate) fn keep_failure(&self, input: &[u8]) -> String {
        self.write("failed-", input)
    }

    fn write(&self, start: &str, input: &[u8]) -> String {
        let mut hasher = DefaultHasher::new();
        input.hash(&mut hasher);
        let file = self.folder.join(format!("{start}{:016x}", hasher.finish()));
        std::fs::create_dir_all(&self.folder).unwrap();
        std::fs::write(&file, input).unwrap();
        file.display().to_string()
    }
}

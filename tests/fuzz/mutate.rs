//! Changes at random.

use fastrand::Rng;

pub(crate) struct Mutator {
    random: Rng,
    largest: usize,
}

/// Bytes and numbers at which programs stumble.
const ODD: [&[u8]; 18] = [
    b"",
    b"0",
    b"-1",
    b"255",
    b"256",
    b"65536",
    b"4294967296",
    b"18446744073709551616",
    b"1e999",
    b"null",
    b"true",
    b"\"\"",
    b"{}",
    b"[]",
    b"\xff\xff\xff\xff",
    b"\0\0\0\0",
    b"\xc3\x28",
    b"\xe2\x80\xae",
];

impl Mutator {
    pub(crate) fn new(seed: u64, largest: usize) -> Mutator {
        Mutator { random: Rng::with_seed(seed), largest }
    }

    /// One of `inputs`, changed a few times; `words` are what means something to the reader.
    pub(crate) fn change(&mut self, inputs: &[Vec<u8>], words: &[&str]) -> Vec<u8> {
        let mut input = self.pick(inputs).to_vec();
        let most = self.random.usize(1..=6);
        for _ in 0..most {
            self.once(&mut input, inputs, words);
        }
        input.truncate(self.largest);
        input
    }

    fn pick<'a>(&mut self, inputs: &'a [Vec<u8>]) -> &'a [u8] {
        let picked = &inputs[self.random.usize(..inputs.len())];
        // Of a long one, a piece is as good.
        let start = if picked.len() > self.largest { self.random.usize(..picked.len() - self.largest) } else { 0 };
        &picked[start..]
    }

    fn range(&mut self, input: &[u8]) -> (usize, usize) {
        let start = self.random.usize(..=input.len());
        let length = if self.random.bool() { self.random.usize(0..=8) } else { self.random.usize(0..=input.len()) };
        (start, (start + length).min(input.len()))
    }

    fn once(&mut self, input: &mut Vec<u8>, inputs: &[Vec<u8>], words: &[&str]) {
        let (start, end) = self.range(input);
        match self.random.u8(..10) {
            0 => {
                if let Some(byte) = input.get_mut(start) {
                    *byte ^= 1 << self.random.u8(..8);
                }
            }
            1 => {
                if let Some(byte) = input.get_mut(start) {
                    *byte = self.random.u8(..);
                }
            }
            2 => drop(input.drain(start..end)),
            3 => {
                let piece = input[start..end].to_vec();
                let times = self.random.usize(1..=4);
                let at = self.random.usize(..=input.len());
                input.splice(at..at, piece.repeat(times));
            }
            4 => {
                let odd = ODD[self.random.usize(..ODD.len())];
                input.splice(start..end, odd.iter().copied());
            }
            5 | 6 if !words.is_empty() => {
                let word = words[self.random.usize(..words.len())];
                let until = if self.random.bool() { start } else { end };
                input.splice(start..until, word.bytes());
            }
            7 => {
                let other = self.pick(inputs).to_vec();
                let (from, to) = self.range(&other);
                input.splice(start..end, other[from..to].iter().copied());
            }
            8 => {
                let open = *self.random.choice(&[b"[", b"{", b"(", b"\"", b"!"]).unwrap_or(&b"[");
                let depth = self.random.usize(1..2000);
                input.splice(start..start, open.repeat(depth));
            }
            _ => {
                let insert: Vec<u8> = (0..self.random.usize(1..=16)).map(|_| self.random.u8(..)).collect();
                input.splice(start..start, insert);
            }
        }
        input.truncate(2 * self.largest);
    }
}

//! A body for a scrape. What a report says is encoded once in each form that is asked for and then shared by all
//! scrapes; the exporter's own few lines are written each time. Both pieces make one valid body, compressed too.

use std::fmt::{self, Write as _};
use std::io::Write as _;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use bytes::Bytes;
use flate2::write::DeflateEncoder;
use flate2::{Compression, Crc};

use super::families::Families;
use super::openmetrics;
use super::published::Published;
use super::text::Text;
use super::vitals::{VitalSigns, Vitals};
use crate::audit::Report;

/// A format of the exposition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Prometheus' text format 0.0.4.
    Text,
    /// OpenMetrics 1.0.0.
    OpenMetrics,
}

impl Format {
    /// The header `Content-Type`.
    pub fn content_type(self) -> &'static str {
        match self {
            Format::Text => "text/plain; version=0.0.4; charset=utf-8",
            Format::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }

    fn write(self, out: &mut dyn fmt::Write, families: &Families) -> fmt::Result {
        match self {
            Format::Text => families.write(&mut Text::new(out)),
            Format::OpenMetrics => openmetrics::write(out, families),
        }
    }

    fn write_end(self, out: &mut dyn fmt::Write) -> fmt::Result {
        match self {
            Format::Text => Ok(()),
            Format::OpenMetrics => openmetrics::write_end(out),
        }
    }
}

/// A whole exposition as one string, for `signs` taken by the caller.
pub fn render(published: &Arc<Published>, signs: VitalSigns, format: Format) -> Result<String, fmt::Error> {
    let mut out = String::new();
    format.write(&mut out, &Families::Report(published.report.clone()))?;
    format.write(&mut out, &Families::Own(published.clone(), Arc::new(signs)))?;
    format.write_end(&mut out)?;
    Ok(out)
}

/// Answers scrapes.
#[derive(Debug)]
pub struct Scraper {
    vitals: Arc<Vitals>,
    cached: Mutex<Arc<Encoded>>,
}

/// A report in the forms in which it has been asked for.
#[derive(Debug, Default)]
struct Encoded {
    report: Arc<Report>,
    forms: [OnceLock<Result<Piece, fmt::Error>>; 4],
    /// How long each form will be, by the last report's.
    lengths: [usize; 4],
}

/// The first part of a body, and what is needed to close it.
#[derive(Debug, Default)]
struct Piece {
    bytes: Bytes,
    crc: Crc,
}

impl Scraper {
    /// One that counts into `vitals`.
    pub fn new(vitals: Arc<Vitals>) -> Scraper {
        Scraper { vitals, cached: Mutex::default() }
    }

    /// What is counted while running.
    pub fn vitals(&self) -> &Vitals {
        &self.vitals
    }

    /// Whether [`Scraper::body`] has little to do. If not it encodes the whole report: not work for a task that
    /// others wait for.
    pub fn is_cheap(&self, published: &Published, format: Format, gzip: bool) -> bool {
        self.encoded(published).forms[form(format, gzip)].get().is_some()
    }

    /// A body in two pieces.
    pub fn body(&self, published: &Arc<Published>, format: Format, gzip: bool) -> Result<[Bytes; 2], fmt::Error> {
        let encoded = self.encoded(published);
        // Scrapes that come together wait here for the first of them.
        let form = form(format, gzip);
        let piece = encoded.forms[form].get_or_init(|| {
            let families = Families::Report(encoded.report.clone());
            let length = encoded.lengths[form];
            if gzip { Piece::gzip(format, &families, length) } else { Piece::plain(format, &families, length) }
        });
        let piece = piece.as_ref().map_err(|error| *error)?;
        let own = Families::Own(published.clone(), Arc::new(self.vitals.signs()));
        let mut text = String::with_capacity(8192);
        format.write(&mut text, &own)?;
        format.write_end(&mut text)?;
        let tail = if gzip { close_gzip(&piece.crc, &text)? } else { text.into_bytes() };
        Ok([piece.bytes.clone(), tail.into()])
    }

    /// The forms of this report, those of another forgotten.
    fn encoded(&self, published: &Published) -> Arc<Encoded> {
        let mut cached = self.cached.lock().unwrap_or_else(PoisonError::into_inner);
        if !Arc::ptr_eq(&cached.report, &published.report) {
            *cached = Arc::new(Encoded::after(&cached, published.report.clone()));
        }
        cached.clone()
    }
}

fn form(format: Format, gzip: bool) -> usize {
    usize::from(format == Format::OpenMetrics) * 2 + usize::from(gzip)
}

impl Encoded {
    /// Nothing encoded yet. A report is about as long as the one before it: growing step by step from nothing would
    /// allocate twice of what is needed.
    fn after(last: &Encoded, report: Arc<Report>) -> Encoded {
        let length = |form: usize| match last.forms[form].get() {
            Some(Ok(piece)) => piece.bytes.len() + piece.bytes.len() / 16,
            _ => last.lengths[form],
        };
        Encoded { report, forms: Default::default(), lengths: std::array::from_fn(length) }
    }
}

impl Piece {
    fn plain(format: Format, families: &Families, length: usize) -> Result<Piece, fmt::Error> {
        let mut text = String::with_capacity(length.max(16 * 1024));
        format.write(&mut text, families)?;
        // It stays for as long as the report does.
        if text.capacity() > text.len() + text.len() / 8 {
            text.shrink_to_fit();
        }
        Ok(Piece { bytes: text.into(), crc: Crc::new() })
    }

    fn gzip(format: Format, families: &Families, length: usize) -> Result<Piece, fmt::Error> {
        let mut out = Vec::with_capacity(length.max(16 * 1024));
        out.extend(GZIP_HEADER);
        let mut deflate = Deflate::new(out);
        format.write(&mut deflate, families)?;
        let (bytes, crc) = deflate.pause()?;
        Ok(Piece { bytes: bytes.into(), crc })
    }
}

/// RFC 1952: deflate, no name, no time, unknown system.
const GZIP_HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];

/// The rest of a gzip member. A paused deflate stream ends at a byte, and one that starts behind it refers to nothing
/// before itself: the two are one stream, and their checksums combine.
fn close_gzip(before: &Crc, text: &str) -> Result<Vec<u8>, fmt::Error> {
    let mut deflate = Deflate::new(Vec::with_capacity(4096));
    deflate.write_str(text)?;
    let (mut bytes, own) = deflate.finish()?;
    let mut crc = Crc::new();
    crc.combine(before);
    crc.combine(&own);
    bytes.extend(crc.sum().to_le_bytes());
    bytes.extend(crc.amount().to_le_bytes());
    Ok(bytes)
}

/// Compresses text as it is written, so that it is never whole in memory.
struct Deflate {
    /// The encoder does much for each call, and a sample is written in many.
    waiting: Vec<u8>,
    encoder: DeflateEncoder<Vec<u8>>,
    crc: Crc,
}

impl Deflate {
    const CHUNK: usize = 32 * 1024;

    fn new(out: Vec<u8>) -> Deflate {
        Deflate {
            waiting: Vec::with_capacity(Self::CHUNK + 1024),
            // Series are so alike that the better levels save little and cost much.
            encoder: DeflateEncoder::new(out, Compression::fast()),
            crc: Crc::new(),
        }
    }

    fn drain(&mut self) -> fmt::Result {
        self.crc.update(&self.waiting);
        self.encoder.write_all(&self.waiting).map_err(|_| fmt::Error)?;
        self.waiting.clear();
        Ok(())
    }

    /// Ends at a byte, with more to come.
    fn pause(mut self) -> Result<(Vec<u8>, Crc), fmt::Error> {
        self.drain()?;
        self.encoder.flush().map_err(|_| fmt::Error)?;
        let mut bytes = std::mem::take(self.encoder.get_mut());
        bytes.shrink_to_fit();
        Ok((bytes, self.crc))
    }

    fn finish(mut self) -> Result<(Vec<u8>, Crc), fmt::Error> {
        self.drain()?;
        Ok((self.encoder.finish().map_err(|_| fmt::Error)?, self.crc))
    }
}

impl fmt::Write for Deflate {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.waiting.extend_from_slice(text.as_bytes());
        if self.waiting.len() >= Self::CHUNK { self.drain() } else { Ok(()) }
    }
}

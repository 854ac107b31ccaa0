//! Frames to bytes.
//!
//! Small chunks are copied into one run of bytes, which is cheaper than a slice of its own in the write call; large
//! ones are sent from where they lie.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::frame::{Body, HEADER_BYTES, Header};
use crate::handshake::PREAMBLE;

/// A chunk up to this size is copied.
const COPY_BYTES_MAX: usize = 4 * 1024;

/// An idle connection keeps no larger buffer.
const IDLE_BYTES_MAX: usize = 16 * 1024;

#[derive(Default)]
pub(crate) struct Encoder {
    /// Goes first.
    runs: VecDeque<Bytes>,
    /// Goes last, and grows.
    tail: BytesMut,
    waiting_bytes: usize,
}

impl Encoder {
    pub(crate) fn push_preamble(&mut self) {
        self.tail.put_slice(&PREAMBLE);
        self.waiting_bytes += PREAMBLE.len();
    }

    /// The caller has checked that the body's length is within the limits, and so within 32 bits.
    pub(crate) fn push_frame(&mut self, kind: u8, request_id: u64, body: &Body) {
        let body_bytes =
            u32::try_from(body.len()).expect("a body is checked against a limit of 32 bits before");
        let body_crc = body
            .chunks()
            .iter()
            .fold(0, |crc, chunk| crc32c::crc32c_append(crc, chunk));
        self.tail.put_slice(
            &Header {
                body_bytes,
                kind,
                request_id,
                body_crc,
            }
            .encode(),
        );
        for chunk in body.chunks() {
            if chunk.len() <= COPY_BYTES_MAX {
                self.tail.put_slice(chunk);
            } else {
                self.runs.push_back(self.tail.split().freeze());
                self.runs.push_back(chunk.clone());
            }
        }
        self.waiting_bytes += HEADER_BYTES + body_bytes as usize;
    }

    /// Bytes that are to be written.
    pub(crate) fn waiting_bytes(&self) -> usize {
        self.waiting_bytes
    }

    /// Fills `slices` from the front; returns how many.
    pub(crate) fn slices<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let runs = self
            .runs
            .iter()
            .map(Bytes::as_ref)
            .chain(std::iter::once(self.tail.as_ref()));
        let mut filled = 0;
        for (slice, run) in slices.iter_mut().zip(runs.filter(|run| !run.is_empty())) {
            *slice = IoSlice::new(run);
            filled += 1;
        }
        filled
    }

    /// The first `bytes` were written.
    pub(crate) fn advance(&mut self, mut bytes: usize) {
        assert!(
            bytes <= self.waiting_bytes,
            "more was written than was there"
        );
        self.waiting_bytes -= bytes;
        while let Some(run) = self.runs.front_mut() {
            if bytes < run.len() {
                run.advance(bytes);
                return;
            }
            bytes -= run.len();
            self.runs.pop_front();
        }
        self.tail.advance(bytes);
        if self.tail.is_empty() && self.tail.capacity() > IDLE_BYTES_MAX {
            self.tail = BytesMut::new();
        } else if self.tail.is_empty() {
            self.tail.clear();
        }
    }

    /// Everything that is to be written, as written now.
    pub(crate) fn take(&mut self) -> Vec<Bytes> {
        self.waiting_bytes = 0;
        let mut runs: Vec<Bytes> = std::mem::take(&mut self.runs).into();
        runs.push(self.tail.split().freeze());
        runs.retain(|run| !run.is_empty());
        runs
    }
}

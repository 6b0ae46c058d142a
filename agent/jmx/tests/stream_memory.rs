//! How much memory a hostile stream can take, measured at the allocator.
//!
//! The only test of its program, so that nothing else allocates meanwhile.
#![allow(unsafe_code)] // A global allocator cannot be had without.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use jmx::stream::{Limits, read_value};

struct Counting;

static NOW: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

// SAFETY: all requests go to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let now = NOW.fetch_add(layout.size(), Ordering::SeqCst) + layout.size();
        PEAK.fetch_max(now, Ordering::SeqCst);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        NOW.fetch_sub(layout.size(), Ordering::SeqCst);
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Bytes that reading `stream` takes at most at one time, besides the stream.
fn peak(stream: &[u8]) -> usize {
    let before = NOW.load(Ordering::SeqCst);
    PEAK.store(before, Ordering::SeqCst);
    let _ = read_value(stream, Limits::default());
    PEAK.load(Ordering::SeqCst) - before
}

/// An array of objects whose announced length is the most there may be; `items` follow.
fn array(items: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut stream = vec![0xac, 0xed, 0, 5, 0x75, 0x72, 0, 19];
    stream.extend(b"[Ljava.lang.Object;");
    stream.extend([0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0x78, 0x70]);
    stream.extend((1u32 << 20).to_be_bytes());
    items(&mut stream);
    stream
}

#[test]
fn no_stream_takes_more_memory_than_the_limits_say() {
    const MIB: usize = 1 << 20;
    let announced_only = array(|_| {});
    assert!(peak(&announced_only) < MIB, "{}", peak(&announced_only));

    let nulls = array(|stream| stream.resize(stream.len() + MIB, 0x70));
    let empty_strings = array(|stream| {
        for _ in 0..MIB {
            stream.extend([0x74, 0, 0]);
        }
    });
    let empty_arrays = array(|stream| {
        for _ in 0..MIB {
            stream.extend([0x75, 0x71, 0, 0x7e, 0, 0, 0, 0, 0, 0]);
        }
    });
    let long_strings = array(|stream| {
        for _ in 0..1024 {
            stream.extend([0x74, 0xff, 0xff]);
            stream.resize(stream.len() + 0xffff, b'x');
        }
    });
    // One class with ten fields of one byte each, and as many objects of it as the limits allow.
    let objects = array(|stream| {
        stream.extend([0x73, 0x72, 0, 1, b'C', 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 10]);
        for _ in 0..10 {
            stream.extend([b'B', 0, 1, b'f']);
        }
        stream.extend([0x78, 0x70]);
        stream.resize(stream.len() + 10, 7);
        for _ in 0..MIB {
            stream.extend([0x73, 0x71, 0, 0x7e, 0, 2]);
            stream.resize(stream.len() + 10, 7);
        }
    });
    for (name, stream) in [
        ("nulls", nulls),
        ("empty strings", empty_strings),
        ("empty arrays", empty_arrays),
        ("long strings", long_strings),
        ("objects", objects),
    ] {
        let peak = peak(&stream);
        println!(
            "{name}: {} KiB of memory for {} of stream",
            peak >> 10,
            stream.len() >> 10
        );
        assert!(peak > MIB, "{name}: nothing was read");
        assert!(peak < 128 * MIB, "{name}: {} MiB", peak / MIB);
    }
    // What a real JVM wrote, with each byte in turn large: lengths beyond the limits and, with 0x0f
    // in their second byte, just below them are announced in vain.
    let everything = include_bytes!("data/everything.ser");
    let mut changed = everything.to_vec();
    let mut most = (0, 0);
    for at in 0..everything.len() {
        for large in [0x0f, 0x7f, 0xff] {
            changed[at] = large;
            most = most.max((peak(&changed), at));
        }
        changed[at] = everything[at];
    }
    let unchanged = peak(everything);
    println!("unchanged {unchanged}, changed (bytes, at) {most:?}");
    assert!(most.0 < 2 * unchanged + (64 << 10), "{most:?} {unchanged}");
}

//! The component's allocator. An instance serves one request and is dropped, so
//! memory is only handed out: smaller and faster than an allocator that takes
//! back, and while a request fits in the pages that the linker reserved, the
//! host is never asked for more.

use std::alloc::{GlobalAlloc, Layout};
use std::arch::wasm32::{memory_grow, memory_size};
use std::cell::Cell;

#[global_allocator]
static ALLOCATOR: Bump = Bump;

/// The first free address. The component's own `realloc`, by which the host hands over texts and
/// lists, takes from the same: it is in another module, which finds this word by its name.
#[unsafe(no_mangle)]
static FIRST_FREE: Word = Word(Cell::new(&raw const __heap_base));

unsafe extern "C" {
    static __heap_base: u8;
}

/// Bytes in a page of linear memory.
const PAGE: usize = 64 * 1024;

struct Word(Cell<*const u8>);

// SAFETY: a component without the threads proposal has one thread.
unsafe impl Sync for Word {}

struct Bump;

impl Bump {
    fn next(&self) -> usize {
        FIRST_FREE.0.get().addr()
    }

    /// Takes everything up to `end`; false where the host gives no more memory.
    fn take(&self, end: usize) -> bool {
        let missing = end.saturating_sub(memory_size(0) * PAGE);
        let granted = missing == 0 || memory_grow(0, missing.div_ceil(PAGE)) != usize::MAX;
        if granted {
            FIRST_FREE.0.set(end as *const u8);
        }
        granted
    }
}

// SAFETY: every block lies between the first free address and the memory's end,
// is aligned as asked, and overlaps no block handed out before: `next` only
// falls by giving back the last block.
unsafe impl GlobalAlloc for Bump {
    /// Not inlined: it would be the component's largest part.
    #[inline(never)]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // An alignment is a power of two, which the compiler does not know.
        let mask = layout.align() - 1;
        let start = self.next().checked_add(mask).map(|start| start & !mask);
        match start.and_then(|start| Some((start, start.checked_add(layout.size())?))) {
            Some((start, end)) if self.take(end) => start as *mut u8,
            _ => std::ptr::null_mut(),
        }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        if block.addr() + layout.size() == self.next() {
            FIRST_FREE.0.set(block);
        }
    }

    /// The last block grows where it is; others move.
    #[inline(never)]
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if block.addr() + layout.size() == self.next() {
            let end = block.addr().checked_add(size);
            return match end {
                Some(end) if self.take(end) => block,
                _ => std::ptr::null_mut(),
            };
        }
        // SAFETY: `size` is not zero and, as the caller promises, fits `isize`
        // when rounded up to the alignment.
        let moved = unsafe { self.alloc(Layout::from_size_align_unchecked(size, layout.align())) };
        if !moved.is_null() {
            // SAFETY: both blocks have that many bytes and they do not overlap.
            unsafe { moved.copy_from_nonoverlapping(block, layout.size().min(size)) };
        }
        moved
    }
}

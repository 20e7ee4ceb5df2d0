//! SQLite's own way to the disk, which notes what passes: the default of this process, so that
//! the store needs no word of it.
//!
//! Reads, locks and shared memory go where they always go. What is written goes there, too, and
//! is noted in the order in which it was. A sync is noted and nothing more: what a disk keeps
//! is for [`crate::disk`] to say.

use crate::disk::{Deed, Name};
use rusqlite::ffi::{
    SQLITE_OK, sqlite3_file, sqlite3_int64, sqlite3_io_methods, sqlite3_vfs, sqlite3_vfs_find,
    sqlite3_vfs_register,
};
use std::collections::BTreeMap;
use std::ffi::{CStr, OsStr, c_char, c_int, c_void};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::ptr::{null, null_mut};
use std::sync::{Mutex, MutexGuard, OnceLock};

/// A folder whose files are noted.
pub(crate) struct Watched(PathBuf);

impl Watched {
    /// Begins with an empty folder.
    pub(crate) fn new(folder: &Path) -> Self {
        register();
        noted().folders.insert(folder.to_owned(), Vec::new());
        Self(folder.to_owned())
    }

    /// Notes that the order with this number was answered.
    pub(crate) fn answered(&self, order: usize) {
        noted().note(&self.0, Deed::Answered(order));
    }

    /// Everything that was done there.
    pub(crate) fn deeds(self) -> Vec<Deed> {
        noted().folders.remove(&self.0).unwrap()
    }
}

/// What is noted, and of which files.
#[derive(Default)]
struct Noted {
    folders: BTreeMap<PathBuf, Vec<Deed>>,
    /// By the address of SQLite's object.
    open: BTreeMap<usize, Opened>,
    /// Ours for each of SQLite's own, by its address.
    methods: BTreeMap<usize, &'static sqlite3_io_methods>,
}

struct Opened {
    path: PathBuf,
    /// SQLite's own: those of a file that is locked are others than those of a log.
    original: &'static sqlite3_io_methods,
}

fn noted() -> MutexGuard<'static, Noted> {
    static NOTED: Mutex<Noted> = Mutex::new(Noted {
        folders: BTreeMap::new(),
        open: BTreeMap::new(),
        methods: BTreeMap::new(),
    });
    NOTED.lock().unwrap()
}

impl Noted {
    fn note(&mut self, folder: &Path, deed: Deed) {
        if let Some(deeds) = self.folders.get_mut(folder) {
            deeds.push(deed);
        }
    }

    fn note_of(&mut self, path: &Path, deed: impl FnOnce(Name) -> Deed) {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        self.note(path.parent().unwrap(), deed(name));
    }

    fn note_open(&mut self, file: *mut sqlite3_file, deed: impl FnOnce(Name) -> Deed) {
        let path = self.open[&file.addr()].path.clone();
        self.note_of(&path, deed);
    }

    fn original(&self, file: *mut sqlite3_file) -> &'static sqlite3_io_methods {
        self.open[&file.addr()].original
    }

    /// The same as SQLite's own, but for four.
    fn noting(&mut self, original: &'static sqlite3_io_methods) -> &'static sqlite3_io_methods {
        let noting = || sqlite3_io_methods {
            xWrite: Some(write),
            xTruncate: Some(truncate),
            xSync: Some(sync),
            xClose: Some(close),
            ..*original
        };
        let address = std::ptr::from_ref(original).addr();
        let known = self.methods.entry(address);
        known.or_insert_with(|| Box::leak(Box::new(noting())))
    }
}

/// SQLite's own way to files.
static ORIGINAL: OnceLock<Vfs> = OnceLock::new();

struct Vfs(sqlite3_vfs);

// SAFETY: it is a table of functions that any thread may call, and is never written.
unsafe impl Send for Vfs {}
// SAFETY: as above.
unsafe impl Sync for Vfs {}

/// Makes this the way of all connections that are opened from now on.
fn register() {
    ORIGINAL.get_or_init(|| {
        // SAFETY: the default VFS lives as long as the process; the copy has another name,
        // and SQLite keeps it for as long.
        unsafe {
            let original = *sqlite3_vfs_find(null());
            let noting = Box::leak(Box::new(sqlite3_vfs {
                zName: c"noting".as_ptr(),
                pNext: null_mut(),
                xOpen: Some(open),
                xDelete: Some(delete),
                ..original
            }));
            assert_eq!(sqlite3_vfs_register(noting, 1), SQLITE_OK);
            Vfs(original)
        }
    });
}

/// # Safety
///
/// As SQLite calls it.
unsafe fn path_of(name: *const c_char) -> PathBuf {
    // SAFETY: SQLite gives names that end with a zero.
    let name = unsafe { CStr::from_ptr(name) };
    PathBuf::from(OsStr::from_bytes(name.to_bytes()))
}

unsafe extern "C" fn open(
    vfs: *mut sqlite3_vfs,
    name: *const c_char,
    file: *mut sqlite3_file,
    flags: c_int,
    out: *mut c_int,
) -> c_int {
    let real = ORIGINAL.get().unwrap().0.xOpen.unwrap();
    let mut noted = noted();
    // SAFETY: the arguments are SQLite's; `vfs` is a copy of the original, with its data.
    unsafe {
        let code = real(vfs, name, file, flags, out);
        if code == SQLITE_OK && !name.is_null() {
            let (path, original) = (path_of(name), &*(*file).pMethods);
            (*file).pMethods = noted.noting(original);
            noted.note_of(&path, Deed::Open);
            noted.open.insert(file.addr(), Opened { path, original });
        }
        code
    }
}

unsafe extern "C" fn delete(vfs: *mut sqlite3_vfs, name: *const c_char, durable: c_int) -> c_int {
    let real = ORIGINAL.get().unwrap().0.xDelete.unwrap();
    let mut noted = noted();
    // SAFETY: the arguments are SQLite's.
    unsafe {
        let code = real(vfs, name, 0);
        if code == SQLITE_OK {
            let durable = durable != 0;
            noted.note_of(&path_of(name), |file| Deed::Remove { file, durable });
        }
        code
    }
}

unsafe extern "C" fn write(
    file: *mut sqlite3_file,
    from: *const c_void,
    amount: c_int,
    offset: sqlite3_int64,
) -> c_int {
    let mut noted = noted();
    // SAFETY: the arguments are SQLite's: `from` has `amount` bytes.
    unsafe {
        let code = noted.original(file).xWrite.unwrap()(file, from, amount, offset);
        if code == SQLITE_OK {
            let amount = usize::try_from(amount).unwrap();
            let bytes = std::slice::from_raw_parts(from.cast::<u8>(), amount).to_vec();
            let offset = usize::try_from(offset).unwrap();
            noted.note_open(file, |file| Deed::Write {
                file,
                offset,
                bytes,
            });
        }
        code
    }
}

unsafe extern "C" fn truncate(file: *mut sqlite3_file, size: sqlite3_int64) -> c_int {
    let mut noted = noted();
    // SAFETY: the arguments are SQLite's.
    let code = unsafe { noted.original(file).xTruncate.unwrap()(file, size) };
    if code == SQLITE_OK {
        let size = usize::try_from(size).unwrap();
        noted.note_open(file, |file| Deed::Truncate { file, size });
    }
    code
}

unsafe extern "C" fn sync(file: *mut sqlite3_file, _flags: c_int) -> c_int {
    noted().note_open(file, Deed::Sync);
    SQLITE_OK
}

unsafe extern "C" fn close(file: *mut sqlite3_file) -> c_int {
    let opened = noted().open.remove(&file.addr()).unwrap();
    // SAFETY: the argument is SQLite's.
    unsafe { opened.original.xClose.unwrap()(file) }
}

// SPDX-License-Identifier: GPL-2.0

//! Text files in debugfs that keep the module from being unloaded while they are open, which those of
//! the kernel crate do not.

use super::{
    compat::this_module,
    ffi, //
};
use core::marker::PhantomData;
use kernel::{
    bindings,
    ffi::{
        c_int,
        c_void, //
    },
    prelude::*,
    seq_file::SeqFile,
    sync::Arc, //
};

/// What can be read as a text.
pub(crate) trait Report: Send + Sync + 'static {
    /// Writes the text.
    fn report(&self, text: &SeqFile);
}

/// A directory at the root of debugfs; without debugfs it is nothing.
///
/// # Invariants
///
/// The pointer is what debugfs returned for the directory, which may be an error: debugfs takes that
/// back.
pub(crate) struct Directory(*mut bindings::dentry);

/// A file in such a directory, removed when this is dropped.
///
/// # Invariants
///
/// As for [`Directory`]. The private data of the file is what `data` points to.
pub(crate) struct ReportFile<T: Report> {
    file: *mut bindings::dentry,
    _data: Arc<T>,
}

// SAFETY: debugfs has locks of its own.
unsafe impl Send for Directory {}
// SAFETY: As above.
unsafe impl Sync for Directory {}
// SAFETY: As above, and the data is `Send` and `Sync`.
unsafe impl<T: Report> Send for ReportFile<T> {}
// SAFETY: As above.
unsafe impl<T: Report> Sync for ReportFile<T> {}

impl Directory {
    /// Makes the directory.
    pub(crate) fn new(name: &CStr) -> Self {
        // SAFETY: The name is a C string.
        Self(unsafe { ffi::pinblk_debugfs_directory(name.as_char_ptr()) })
    }

    /// Makes a file in it that shows what `data` reports.
    pub(crate) fn file<T: Report>(&self, name: &CStr, data: Arc<T>) -> ReportFile<T> {
        // SAFETY: The name is a C string, the directory is debugfs' own by the type invariant, and the
        // data is kept until the file is removed.
        let file = unsafe {
            ffi::pinblk_debugfs_file(
                name.as_char_ptr(),
                self.0,
                Arc::as_ptr(&data).cast_mut().cast(),
                Operations::<T>::TABLE,
            )
        };
        ReportFile { file, _data: data }
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // SAFETY: By the type invariant.
        unsafe { ffi::pinblk_debugfs_remove(self.0) };
    }
}

impl<T: Report> Drop for ReportFile<T> {
    fn drop(&mut self) {
        // This waits for those who are reading. Who has the file open gets errors from then on.
        // SAFETY: By the type invariant.
        unsafe { ffi::pinblk_debugfs_remove(self.file) };
    }
}

/// The operations of files that show what a `T` reports.
struct Operations<T>(PhantomData<T>);

impl<T: Report> Operations<T> {
    const TABLE: &'static bindings::file_operations = &bindings::file_operations {
        owner: this_module().as_ptr(),
        open: Some(Self::open),
        read: Some(bindings::seq_read),
        llseek: Some(bindings::seq_lseek),
        release: Some(bindings::single_release),
        ..pin_init::zeroed()
    };

    /// # Safety
    ///
    /// Only for debugfs, with a file of [`ReportFile<T>`] that is not yet removed.
    unsafe extern "C" fn open(inode: *mut bindings::inode, file: *mut bindings::file) -> c_int {
        // SAFETY: debugfs put the private data of the file there.
        let data = unsafe { (*inode).i_private };
        // SAFETY: The file is being opened.
        unsafe { bindings::single_open(file, Some(Self::show), data) }
    }

    /// # Safety
    ///
    /// Only as the show function of a file that [`Self::open`] opened. debugfs does not come here once
    /// the file is removed, and removing waits until this has returned.
    unsafe extern "C" fn show(text: *mut bindings::seq_file, _: *mut c_void) -> c_int {
        // SAFETY: `single_open` put the private data there, which is kept until the file is removed.
        let data = unsafe { &*(*text).private.cast::<T>() };
        // SAFETY: The text is ours for this call.
        data.report(unsafe { SeqFile::from_raw(text) });
        0
    }
}

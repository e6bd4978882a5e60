// SPDX-License-Identifier: GPL-2.0

//! The C shims, as `sys/shims.h` declares them.

use kernel::{
    bindings,
    ffi::{
        c_char,
        c_int,
        c_uint,
        c_ulong,
        c_void, //
    }, //
};

// The lint distrusts structures of the kernel that are empty in some configurations; here only
// pointers cross. Not `expect`: in other configurations it has nothing to say.
#[allow(improper_ctypes)]
unsafe extern "C" {
    pub(super) fn pinblk_disk_features(
        write_cache: bool,
        fua: bool,
        stable_writes: bool,
        nowait: bool,
    ) -> bindings::blk_features_t;
    pub(super) fn pinblk_disk_openers(disk: *mut bindings::gendisk) -> c_uint;

    pub(super) fn pinblk_bio_count_pages(bio: *const bindings::bio, pinned: *mut u64) -> u64;
    pub(super) fn pinblk_bio_has_plan(bio: *mut bindings::bio);
    pub(super) fn pinblk_frame_alloc(may_sleep: bool) -> *mut c_void;

    pub(super) fn pinblk_delayed_work_init(
        work: *mut bindings::delayed_work,
        run: bindings::work_func_t,
    );
    pub(super) fn pinblk_cond_resched();

    pub(super) fn pinblk_current_group() -> *mut bindings::pid;
    pub(super) fn pinblk_group_is_dying(group: *mut bindings::pid) -> bool;

    pub(super) fn pinblk_debugfs_directory(name: *const c_char) -> *mut bindings::dentry;
    pub(super) fn pinblk_debugfs_file(
        name: *const c_char,
        directory: *mut bindings::dentry,
        data: *mut c_void,
        operations: *const bindings::file_operations,
    ) -> *mut bindings::dentry;
    pub(super) fn pinblk_debugfs_remove(entry: *mut bindings::dentry);

    pub(super) fn pinblk_numbers_add(
        per_cpu: *mut c_void,
        first: usize,
        more: *const u64,
        count: usize,
    );
    pub(super) fn pinblk_percpu_of(per_cpu: *mut c_void, cpu: c_int) -> *mut c_void;
    pub(super) fn pinblk_next_cpu(cpu: c_int) -> c_int;

    pub(super) fn pinblk_copy_from_page(
        to: *mut c_void,
        page: *mut bindings::page,
        offset: usize,
        length: usize,
    );
    pub(super) fn pinblk_copy_to_page(
        page: *mut bindings::page,
        offset: usize,
        from: *const c_void,
        length: usize,
    );

    pub(super) fn pinblk_mm_add_pinned(mm: *mut bindings::mm_struct, pages: i64) -> i64;
    pub(super) fn pinblk_task_memlock_pages(task: *mut bindings::task_struct) -> c_ulong;
    pub(super) fn pinblk_is_signalled() -> bool;

    pub(super) fn pinblk_open_exclusively(
        number: bindings::dev_t,
        holder: *mut c_void,
    ) -> *mut bindings::file;
    pub(super) fn pinblk_close_now(file: *mut bindings::file);
    pub(super) fn pinblk_folio_goes_on(
        page: *const bindings::page,
        next: *const bindings::page,
    ) -> bool;
    pub(super) fn pinblk_is_zero_page(page: *const bindings::page) -> bool;
    pub(super) fn pinblk_put_page(page: *mut bindings::page);
    pub(super) fn pinblk_page_to_pfn(page: *const bindings::page) -> c_ulong;
    pub(super) fn pinblk_page_mapcount(page: *const bindings::page) -> c_int;
    pub(super) fn pinblk_page_folio(page: *mut bindings::page) -> *mut bindings::folio;

    pub(super) fn pinblk_folio_try_dirty(folio: *mut bindings::folio) -> bool;
    pub(super) fn pinblk_folio_is_typed(folio: *const bindings::folio) -> bool;
    pub(super) fn pinblk_folio_page_index(
        folio: *const bindings::folio,
        page: *const bindings::page,
    ) -> c_ulong;
    pub(super) fn pinblk_folio_order(folio: *const bindings::folio) -> c_uint;
    pub(super) fn pinblk_folio_ref_count(folio: *const bindings::folio) -> c_int;
    pub(super) fn pinblk_folio_mapcount(folio: *const bindings::folio) -> c_int;
    pub(super) fn pinblk_folio_maybe_dma_pinned(folio: *mut bindings::folio) -> bool;
    pub(super) fn pinblk_folio_has_pincount(folio: *const bindings::folio) -> bool;
    pub(super) fn pinblk_folio_pincount(folio: *const bindings::folio) -> c_int;
    pub(super) fn pinblk_folio_test_anon(folio: *const bindings::folio) -> bool;
    pub(super) fn pinblk_folio_test_dirty(folio: *const bindings::folio) -> bool;
    pub(super) fn pinblk_folio_test_locked(folio: *const bindings::folio) -> bool;
    pub(super) fn pinblk_folio_test_lru(folio: *const bindings::folio) -> bool;
    pub(super) fn pinblk_folio_test_uptodate(folio: *const bindings::folio) -> bool;
    pub(super) fn pinblk_folio_test_writeback(folio: *const bindings::folio) -> bool;
}

/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the kernel has only as macros and static inlines, as symbols that Rust can link to.
 *
 * sys/ffi.rs declares the same for Rust.
 */
#ifndef PINBLK_SHIMS_H
#define PINBLK_SHIMS_H

#include <linux/blkdev.h>
#include <linux/mm.h>
#include <linux/workqueue.h>

blk_features_t pinblk_disk_features(bool write_cache, bool fua,
				    bool stable_writes, bool nowait);
unsigned int pinblk_disk_openers(struct gendisk *disk);

u64 pinblk_bio_count_pages(const struct bio *bio, u64 *pinned);

void pinblk_bio_has_plan(struct bio *bio);

void *pinblk_frame_alloc(bool may_sleep);

void pinblk_delayed_work_init(struct delayed_work *work, work_func_t run);
extern const size_t pinblk_layout[];

void pinblk_cond_resched(void);

struct pid *pinblk_current_group(void);
bool pinblk_group_is_dying(struct pid *group);

struct dentry *pinblk_debugfs_directory(const char *name);
struct dentry *pinblk_debugfs_file(const char *name, struct dentry *directory,
				   void *data,
				   const struct file_operations *operations);
void pinblk_debugfs_remove(struct dentry *entry);

/* Numbers of one processor, and a sequence that is odd while they change. */
struct pinblk_numbers {
	u64 sequence;
	u64 numbers[];
};

void pinblk_numbers_add(void *per_cpu, size_t first, const u64 *more,
			size_t count);
void *pinblk_percpu_of(void *per_cpu, int cpu);
int pinblk_next_cpu(int cpu);

void pinblk_copy_from_page(void *to, struct page *page, size_t offset,
			   size_t length);
void pinblk_copy_to_page(struct page *page, size_t offset, const void *from,
			 size_t length);

s64 pinblk_mm_add_pinned(struct mm_struct *mm, s64 pages);
unsigned long pinblk_task_memlock_pages(struct task_struct *task);
bool pinblk_is_signalled(void);

struct file *pinblk_open_exclusively(dev_t number, void *holder);
void pinblk_close_now(struct file *file);
bool pinblk_folio_goes_on(const struct page *page, const struct page *next);
bool pinblk_is_zero_page(const struct page *page);
void pinblk_put_page(struct page *page);
unsigned long pinblk_page_to_pfn(const struct page *page);
int pinblk_page_mapcount(const struct page *page);
struct folio *pinblk_page_folio(struct page *page);

bool pinblk_folio_try_dirty(struct folio *folio);
bool pinblk_folio_is_typed(const struct folio *folio);
unsigned long pinblk_folio_page_index(const struct folio *folio,
				      const struct page *page);
unsigned int pinblk_folio_order(const struct folio *folio);
int pinblk_folio_ref_count(const struct folio *folio);
int pinblk_folio_mapcount(const struct folio *folio);
bool pinblk_folio_maybe_dma_pinned(struct folio *folio);
bool pinblk_folio_has_pincount(const struct folio *folio);
int pinblk_folio_pincount(const struct folio *folio);
bool pinblk_folio_test_anon(const struct folio *folio);
bool pinblk_folio_test_dirty(const struct folio *folio);
bool pinblk_folio_test_locked(const struct folio *folio);
bool pinblk_folio_test_lru(const struct folio *folio);
bool pinblk_folio_test_uptodate(const struct folio *folio);
bool pinblk_folio_test_writeback(const struct folio *folio);

#endif /* PINBLK_SHIMS_H */

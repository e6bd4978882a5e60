// SPDX-License-Identifier: GPL-2.0

#include <linux/bio.h>
#include <linux/debugfs.h>
#include <linux/highmem.h>
#include <linux/pagemap.h>
#include <linux/percpu.h>
#include <linux/pid.h>
#include <linux/sched.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/workqueue.h>

#include "shims.h"

blk_features_t pinblk_disk_features(bool write_cache, bool fua,
				    bool stable_writes, bool nowait)
{
	return (write_cache ? BLK_FEAT_WRITE_CACHE : 0) |
	       (write_cache && fua ? BLK_FEAT_FUA : 0) |
	       (stable_writes ? BLK_FEAT_STABLE_WRITES : 0) |
	       (nowait ? BLK_FEAT_NOWAIT : 0);
}

unsigned int pinblk_disk_openers(struct gendisk *disk)
{
	return disk_openers(disk);
}

/* Marks a bio that has a plan, see sys/bio_plan.rs. A bio ends without one: nobody calls this. */
void pinblk_bio_has_plan(struct bio *bio)
{
	WARN_ON_ONCE(1);
}

/*
 * Without __GFP_RETRY_MAYFAIL an allocation that may not start I/O is retried for ever when
 * memory is full, as it may not wake the OOM killer: an I/O error is better than a hang.
 */
void *pinblk_frame_alloc(bool may_sleep)
{
	gfp_t gfp = may_sleep ? GFP_NOIO | __GFP_RETRY_MAYFAIL : GFP_NOWAIT;

	return (void *)get_zeroed_page(gfp | __GFP_NOWARN);
}

void pinblk_delayed_work_init(struct delayed_work *work, work_func_t run)
{
	INIT_DELAYED_WORK(work, run);
}

/* As sys/layout.rs has them: the size of a structure, then the offsets of its fields. */
const size_t pinblk_layout[] = {
	sizeof(struct bio),
	offsetof(struct bio, bi_next),
	offsetof(struct bio, bi_bdev),
	offsetof(struct bio, bi_opf),
	offsetof(struct bio, bi_flags),
	offsetof(struct bio, bi_status),
	offsetof(struct bio, bi_iter),
	offsetof(struct bio, bi_end_io),
	offsetof(struct bio, bi_private),
	offsetof(struct bio, bi_vcnt),
	offsetof(struct bio, bi_io_vec),
	sizeof(struct bio_vec),
	offsetof(struct bio_vec, bv_page),
	offsetof(struct bio_vec, bv_len),
	offsetof(struct bio_vec, bv_offset),
	sizeof(struct bvec_iter),
	offsetof(struct bvec_iter, bi_sector),
	offsetof(struct bvec_iter, bi_size),
	offsetof(struct bvec_iter, bi_idx),
	sizeof(struct block_device),
	offsetof(struct block_device, bd_disk),
	offsetof(struct block_device, bd_queue),
	offsetof(struct block_device, bd_dev),
	offsetof(struct block_device, bd_nr_sectors),
	sizeof(struct gendisk),
	offsetof(struct gendisk, disk_name),
	offsetof(struct gendisk, flags),
	offsetof(struct gendisk, fops),
	offsetof(struct gendisk, private_data),
	offsetof(struct gendisk, part0),
	offsetof(struct gendisk, open_mutex),
	sizeof(struct queue_limits),
	sizeof(struct request_queue),
	offsetof(struct request_queue, limits),
	sizeof(struct address_space),
	offsetof(struct address_space, host),
	sizeof(struct inode),
	offsetof(struct inode, i_mode),
	sizeof(struct page),
};

void pinblk_cond_resched(void)
{
	cond_resched();
}

struct pid *pinblk_current_group(void)
{
	return get_pid(task_tgid(current));
}

bool pinblk_group_is_dying(struct pid *group)
{
	struct task_struct *leader;
	bool dying;

	rcu_read_lock();
	leader = pid_task(group, PIDTYPE_TGID);
	dying = !leader ||
		(READ_ONCE(leader->signal->flags) & SIGNAL_GROUP_EXIT);
	rcu_read_unlock();
	return dying;
}

struct dentry *pinblk_debugfs_directory(const char *name)
{
	return debugfs_create_dir(name, NULL);
}

struct dentry *pinblk_debugfs_file(const char *name, struct dentry *directory,
				   void *data,
				   const struct file_operations *operations)
{
	return debugfs_create_file(name, 0400, directory, data, operations);
}

void pinblk_debugfs_remove(struct dentry *entry)
{
	debugfs_remove(entry);
}

/*
 * Only threads of one processor write its numbers, with preemption off, one at a time. Their stores
 * need no locked instruction, only an order. Every bio is counted, so it is one call.
 */
void pinblk_numbers_add(void *per_cpu, size_t first, const u64 *more,
			size_t count)
{
	struct pinblk_numbers *local =
		get_cpu_ptr((struct pinblk_numbers __percpu __force *)per_cpu);
	u64 *numbers = &local->numbers[first];
	u64 sequence = local->sequence;

	WRITE_ONCE(local->sequence, sequence + 1);
	/* Odd before a number changes: pairs with smp_mb(Read) in tally.rs. */
	smp_wmb();
	for (size_t i = 0; i < count; i++)
		WRITE_ONCE(numbers[i], numbers[i] + more[i]);
	/* Even when all have changed: pairs with load(Acquire) in tally.rs. */
	smp_store_release(&local->sequence, sequence + 2);
	put_cpu_ptr((struct pinblk_numbers __percpu __force *)per_cpu);
}

void *pinblk_percpu_of(void *per_cpu, int cpu)
{
	return per_cpu_ptr((void __percpu __force *)per_cpu, cpu);
}

/* The possible processor after this one, the first one after -1; -1 after the last one. */
int pinblk_next_cpu(int cpu)
{
	unsigned int next = cpumask_next(cpu, cpu_possible_mask);

	return next < nr_cpu_ids ? next : -1;
}

/* A whole page, the usual case, is a length that the compiler knows: it needs no call then. */
void pinblk_copy_from_page(void *to, struct page *page, size_t offset,
			   size_t length)
{
	if (length == PAGE_SIZE)
		memcpy_from_page(to, page, 0, PAGE_SIZE);
	else
		memcpy_from_page(to, page, offset, length);
}

void pinblk_copy_to_page(struct page *page, size_t offset, const void *from,
			 size_t length)
{
	if (length == PAGE_SIZE)
		memcpy_to_page(page, 0, from, PAGE_SIZE);
	else
		memcpy_to_page(page, offset, from, length);
}

/* The new number of pages that are pinned for long; shown as VmPin in /proc/PID/status. */
s64 pinblk_mm_add_pinned(struct mm_struct *mm, s64 pages)
{
	return atomic64_add_return(pages, &mm->pinned_vm);
}

unsigned long pinblk_task_memlock_pages(struct task_struct *task)
{
	return task_rlimit(task, RLIMIT_MEMLOCK) >> PAGE_SHIFT;
}

/* Unlike signal_pending() this is not true for work that io_uring has left. */
bool pinblk_is_signalled(void)
{
	return task_sigpending(current);
}

struct file *pinblk_open_exclusively(dev_t number, void *holder)
{
	return bdev_file_open_by_dev(number, BLK_OPEN_READ | BLK_OPEN_WRITE,
				     holder, NULL);
}

/*
 * fput() alone leaves the closing to whoever comes next, in a thread of the
 * kernel to a worker: the disk would be open for a while.
 */
void pinblk_close_now(struct file *file)
{
	get_file(file);
	bdev_fput(file);
	__fput_sync(file);
}

bool pinblk_folio_goes_on(const struct page *page, const struct page *next)
{
	return page_folio(page) == page_folio(next) &&
	       page_to_pfn(page) + 1 == page_to_pfn(next);
}

bool pinblk_is_zero_page(const struct page *page)
{
	return is_zero_page(page);
}

void pinblk_put_page(struct page *page)
{
	put_page(page);
}

unsigned long pinblk_page_to_pfn(const struct page *page)
{
	return page_to_pfn(page);
}

/* As dump_page() prints it: mappings of the page itself, none for a typed page. */
int pinblk_page_mapcount(const struct page *page)
{
	int mapcount = atomic_read(&page->_mapcount) + 1;

	return page_mapcount_is_type(mapcount) ? 0 : mapcount;
}

struct folio *pinblk_page_folio(struct page *page)
{
	return page_folio(page);
}

/*
 * Slabs, page tables and the like use the words of struct page for themselves; hugetlb folios
 * have a type too, but are folios in every other respect.
 */
bool pinblk_folio_is_typed(const struct folio *folio)
{
	return page_has_type(&folio->page) && !folio_test_hugetlb(folio);
}

/* Every page of every bio is asked whether it is pinned, so it is one call for all of a bio. */
u64 pinblk_bio_count_pages(const struct bio *bio, u64 *pinned)
{
	const struct bio_vec *table = bio->bi_io_vec;
	struct bvec_iter iter;
	struct bio_vec segment;
	u64 pages = 0, found = 0;

	for_each_bvec(segment, table, iter, bio->bi_iter) {
		struct folio *folio = page_folio(segment.bv_page);

		pages++;
		found += !pinblk_folio_is_typed(folio) &&
			 folio_maybe_dma_pinned(folio);
	}
	*pinned = found;
	return pages;
}

/*
 * For a folio under writeback, whose bio has not ended. To be dirtied it has to be locked, or some
 * filesystems warn; but whoever has locked it may wait for the end of that bio, so the lock is not
 * waited for. What the filesystem allocates must not wait for I/O for the same reason.
 *
 * A folio that is dirty already needs no lock: somebody is about to write it again, and may have
 * locked it and be waiting for this very bio. One that its submitter has locked is not dirty: it
 * was cleaned under that lock.
 */
bool pinblk_folio_try_dirty(struct folio *folio)
{
	unsigned int flags;

	if (!folio_trylock(folio))
		return folio_test_dirty(folio);
	flags = memalloc_noio_save();
	folio_mark_dirty(folio);
	memalloc_noio_restore(flags);
	folio_unlock(folio);
	return true;
}

unsigned long pinblk_folio_page_index(const struct folio *folio,
				      const struct page *page)
{
	return page_pgoff(folio, page);
}

unsigned int pinblk_folio_order(const struct folio *folio)
{
	return folio_order(folio);
}

int pinblk_folio_ref_count(const struct folio *folio)
{
	return folio_ref_count(folio);
}

int pinblk_folio_mapcount(const struct folio *folio)
{
	return folio_mapcount(folio);
}

bool pinblk_folio_maybe_dma_pinned(struct folio *folio)
{
	return folio_maybe_dma_pinned(folio);
}

bool pinblk_folio_has_pincount(const struct folio *folio)
{
	return folio_has_pincount(folio);
}

int pinblk_folio_pincount(const struct folio *folio)
{
	return atomic_read(&folio->_pincount);
}

bool pinblk_folio_test_anon(const struct folio *folio)
{
	return folio_test_anon(folio);
}

bool pinblk_folio_test_dirty(const struct folio *folio)
{
	return folio_test_dirty(folio);
}

bool pinblk_folio_test_locked(const struct folio *folio)
{
	return folio_test_locked(folio);
}

bool pinblk_folio_test_lru(const struct folio *folio)
{
	return folio_test_lru(folio);
}

bool pinblk_folio_test_uptodate(const struct folio *folio)
{
	return folio_test_uptodate(folio);
}

bool pinblk_folio_test_writeback(const struct folio *folio)
{
	return folio_test_writeback(folio);
}

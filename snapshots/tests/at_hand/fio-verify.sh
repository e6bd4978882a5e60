#!/bin/sh
# SPDX-License-Identifier: MIT OR Apache-2.0
#
# Writes in every way that fio has, drops the page cache, reads all of it back and compares checksums:
# psync, libaio and io_uring, direct and buffered, one request at a time and 32, in blocks of 512 bytes
# to 1 MiB. It runs in a guest, on the bare disk or on a filesystem, and brings fio along:
#
#   cargo xtask exec --fs bdev --with fio -- snapshots/tests/at_hand/fio-verify.sh
#   cargo xtask exec --fs ext4 --with fio -- snapshots/tests/at_hand/fio-verify.sh
#
# Arguments are the sizes of blocks to try instead of all, in bytes. DAMAGE=1 has it change a byte behind
# fio's back on the bare disk, which must make it fail.
set -eu

sizes=${*:-512 1024 2048 4096 8192 16384 32768 65536 131072 262144 524288 1048576}
# The setup is mounted where the program starts, but for the bare disk.
if [ "$PWD" = /tmp ]; then on_disk=1; else on_disk=0; fi
jobs=0
verified=0
seed=0

# The jobs of one engine and size of blocks, each in a place of its own: 1024 blocks, but 1 to 32 MiB.
describe() {
    bytes=$((block * 1024))
    [ $bytes -ge 1048576 ] || bytes=1048576
    [ $bytes -le 33554432 ] || bytes=33554432
    printf '%s\n' '[global]' rw=randwrite verify=crc32c verify_fatal=1 verify_state_save=0 thread=1 \
        group_reporting=1 stonewall=1 end_fsync=1 "ioengine=$engine" "bs=$block"
    place=0
    for direct in 1 0; do
        for depth in 1 32; do
            # What an earlier job left in the same place has another seed: it is not taken for this one's.
            seed=$((seed + 1))
            printf '%s\n' "[direct-$direct-depth-$depth]" "direct=$direct" "randseed=$seed"
            if [ "$engine" = psync ] && [ $depth = 32 ]; then
                # A call has one request in flight, so there are as many threads.
                printf '%s\n' numjobs=32 "size=$((bytes / 32))" "offset_increment=$((bytes / 32))"
            else
                printf '%s\n' "iodepth=$depth" "size=$bytes"
            fi
            if [ $on_disk = 1 ]; then
                printf '%s\n' "filename=$PINBED_DISK" "offset=$((place * bytes))"
            else
                printf '%s\n' "filename=data-$place"
            fi
            place=$((place + 1))
        done
    done
}

# Writes, forgets what the page cache has, and reads all of it back.
verify() {
    describe > /tmp/jobs.fio
    fio --minimal --do_verify=0 /tmp/jobs.fio > /tmp/written
    sync
    echo 3 > /proc/sys/vm/drop_caches
    if [ "${DAMAGE:-0}" = 1 ]; then
        # In the middle of a block of the second job.
        printf 'X' | dd of="$PINBED_DISK" bs=1 seek=$((bytes + block / 2)) conv=notrunc 2> /dev/null
    fi
    fio --minimal --verify_only /tmp/jobs.fio > /tmp/verified
    # The sixth field of fio's terse form is how many KiB were read.
    kib=$(awk -F ';' '/^3;/ { kib += $6 } END { print kib + 0 }' /tmp/verified)
    if [ "$kib" != $((place * bytes / 1024)) ]; then
        echo "fio verified $kib KiB of $((place * bytes / 1024)): $engine, blocks of $block bytes" >&2
        exit 1
    fi
    jobs=$((jobs + place))
    verified=$((verified + kib / 1024))
    # The disk is in the guest's memory, which is small.
    if [ $on_disk = 1 ]; then
        blkdiscard "$PINBED_DISK"
    else
        rm data-*
        sync
        fstrim .
    fi
}

for block in $sizes; do
    for engine in psync libaio io_uring; do
        verify
    done
    echo "blocks of $block bytes: verified"
done
echo "fio verified $jobs jobs, $verified MiB"

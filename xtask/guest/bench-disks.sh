#!/bin/sh
# SPDX-License-Identifier: MIT OR Apache-2.0
#
# How fast pinblk is beside brd and null_blk, in one guest, by fio. `cargo xtask bench-disks` runs it:
#
#   bench-disks.sh ROUNDS BRD.KO NULL_BLK.KO
#
# A round is every row on every disk, the disks of a row one after the other. One more round, the
# first, does not count. Prints a table in Markdown; a ratio is to the throughput of another disk.
set -eu

rounds=$1
# MiB of each disk. All of them are in the guest's memory.
size=32
configfs=/sys/kernel/config

insmod "$2" rd_nr=1 rd_size=$((size * 1024))
insmod "$3" nr_devices=0

# Makes a disk through configfs: its folder there, then its attributes.
make_disk() {
    folder=$configfs/$1
    mkdir "$folder"
    shift
    for attribute in "size=$size" "$@" power=1; do
        echo "${attribute#*=}" > "$folder/${attribute%%=*}"
    done
}
make_disk nullb/nullb0 memory_backed=1 blocksize=512
make_disk pinblk/uncached write_cache=0
make_disk pinblk/cached write_cache=1
disks='ram0 nullb0 uncached cached'

# One line for each job: random places, no page cache, as much as takes a quarter of a second or so.
describe() {
    printf '%s\n' '[global]' direct=1 ioengine=libaio thread=1 norandommap=1 stonewall=1 "size=${size}m"
    for bytes in 4k 1m; do
        if [ $bytes = 4k ]; then amount=32m; else amount=256m; fi
        for depth in 1 32; do
            for direction in read write; do
                for disk in $disks; do
                    printf '%s\n' "[$bytes $depth $direction $disk]" "bs=$bytes" "iodepth=$depth" \
                        "rw=rand$direction" "io_size=$amount" "filename=/dev/$disk"
                done
            done
        done
    done
}
describe > jobs.fio

# Every page of every disk has been written when it is measured.
for disk in $disks; do
    fio --minimal --name=fill --rw=write --bs=1m --direct=1 --thread=1 "--size=${size}m" \
        "--filename=/dev/$disk" > /dev/null
done

round=0
while [ "$round" -le "$rounds" ]; do
    fio --minimal jobs.fio > said
    # The job, and KiB a second: the seventh field of fio's terse form has them of reads, the 48th of writes.
    if [ "$round" -gt 0 ]; then
        awk -F ';' '/^3;/ { print $3, $3 ~ / read / ? $7 : $48 }' said >> measured
    fi
    echo "round $round of $rounds" >&2
    round=$((round + 1))
done

sort -k1,1r -k2,2n -k3,3 -k4,4 -k5,5n measured | awk -v rounds="$rounds" '
# The lines of one job come in a row, by throughput.
{
    row = $1 " " $2 " " $3
    if (!(row in seen)) { seen[row] = ++rows; names[rows] = row }
    values[row, $4, ++count[row, $4]] = $5
}
function median(row, disk,    n, half) {
    n = count[row, disk]
    if (n != rounds) { print "fio measured " row " on " disk " " n + 0 " times, not " rounds; exit failed = 1 }
    half = int((n + 1) / 2)
    return n % 2 ? values[row, disk, half] : (values[row, disk, half] + values[row, disk, half + 1]) / 2
}
function cell(row, disk) {
    return sprintf("%.1f (%.1f, %.1f)", median(row, disk) / 1024, values[row, disk, 1] / 1024,
        values[row, disk, count[row, disk]] / 1024)
}
function insert(ratio,    at) {
    for (at = ++ratios; at > 1 && sorted[at - 1] > ratio; at--) sorted[at] = sorted[at - 1]
    sorted[at] = ratio
}
END {
    if (failed) exit 1
    print "MiB a second, the median of " rounds " rounds (least, most); the ratios are of medians.\n"
    print "| bytes, depth | brd | null_blk | pinblk | to brd | to null_blk | with a cache: to brd | to pinblk without |"
    print "|---|---|---|---|---|---|---|---|"
    for (at = 1; at <= rows; at++) {
        row = names[at]
        brd = median(row, "ram0"); null = median(row, "nullb0")
        ours = median(row, "uncached"); cached = median(row, "cached")
        insert(ours / brd)
        printf "| %s | %s | %s | %s | %.3f | %.3f | %.3f | %.3f |\n", row, cell(row, "ram0"), cell(row, "nullb0"),
            cell(row, "uncached"), ours / brd, ours / null, cached / brd, cached / ours
    }
    half = int(ratios / 2)
    printf "\nTo brd: the least ratio %.3f, the median row %.3f.\n", sorted[1],
        (sorted[half] + sorted[ratios - half + 1]) / 2
}'

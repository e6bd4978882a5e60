// SPDX-License-Identifier: GPL-2.0 OR MIT OR Apache-2.0

//! The numbers of the requests, as C's `_IOWR`, `_IOW` and `_IOR` make them.

#[test]
fn requests_have_the_numbers_of_the_kernels_scheme() {
    assert_eq!(pinblk_abi::HELLO, 0xc008_b100);
    assert_eq!(pinblk_abi::STATISTICS, 0xc1c8_b101);
    assert_eq!(pinblk_abi::HOLD, 0xc028_b102);
    assert_eq!(pinblk_abi::DMA, 0xc028_b103);
    assert_eq!(pinblk_abi::RELEASE, 0x4008_b104);
    assert_eq!(pinblk_abi::DUMP, 0xc030_b105);
    assert_eq!(pinblk_abi::HOLD_STATISTICS, 0x8098_b106);
    assert_eq!(pinblk_abi::WAIT, 0xc018_b107);
    assert_eq!(pinblk_abi::OPEN_DISK, 0xc028_b108);
    assert_eq!(pinblk_abi::CLOSE_DISK, 0x4008_b109);
    assert_eq!(pinblk_abi::IO, 0xc030_b10a);
    assert_eq!(pinblk_abi::CLOSE_GATE, 0xc048_b110);
    assert_eq!(pinblk_abi::WAIT_GATE, 0xc018_b111);
    assert_eq!(pinblk_abi::LET_GO, 0xc010_b112);
    assert_eq!(pinblk_abi::OPEN_GATE, 0x4008_b113);
    assert_eq!(pinblk_abi::HELD_BIO, 0xc028_b114);
    assert_eq!(pinblk_abi::HELD_PAGE, 0xc040_b115);
    assert_eq!(pinblk_abi::LOG_STATE, 0xc030_b118);
    assert_eq!(pinblk_abi::LOG_ENTRY, 0xc050_b119);
}

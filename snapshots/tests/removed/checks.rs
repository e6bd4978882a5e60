// SPDX-License-Identifier: MIT OR Apache-2.0

//! Some checks of what userspace sends, of each kind the most telling, and which cell is to notice that they
//! are gone. All of them were taken out once: docs/driver-tests.md says what was seen.

use crate::Removal;

const HOLDS: &str = "bad_input_holds::none::pin::observe";
const TRANSFERS: &str = "bad_input_transfers::bdev::pin::observe";
const GATES: &str = "bad_input_gates::bdev::pin::observe";

pub(crate) const CHECKS: &[Removal] = &[
    Removal {
        name: "hello_first",
        file: "control.rs",
        item: "impl OpenFile for Control {",
        code: "!self.session.lock().greeted",
        instead: "false",
        cell: HOLDS,
        noticed: "a request before HELLO: EPROTO",
    },
    Removal {
        name: "hold_reserved",
        file: "control/hold.rs",
        item: "impl Control {",
        code: "|| hold.reserved != 0",
        instead: "",
        cell: HOLDS,
        noticed: "a reserved field: EINVAL",
    },
    Removal {
        name: "hold_alignment",
        file: "control/hold.rs",
        item: "impl Control {",
        code: "|| hold.address % abi::PAGE_SIZE != 0",
        instead: "",
        cell: HOLDS,
        noticed: "an address within a page: EINVAL",
    },
    Removal {
        name: "slow_pid",
        file: "acquisition.rs",
        item: "impl How {",
        code: "(PATH_SLOW, 0)",
        instead: "(PATH_SLOW, _)",
        cell: HOLDS,
        noticed: "a process for the slow path: EINVAL",
    },
    Removal {
        name: "ptrace_own",
        file: "sys/process.rs",
        item: "impl Process {",
        code: "is_own ||",
        instead: "",
        cell: "memlock::none::longterm::observe",
        noticed: "its own pages are not, by its process id",
    },
    Removal {
        name: "gate_kinds",
        file: "control/gates.rs",
        item: "impl Control {",
        code: "!is_set_of(close.kinds, (1 << KINDS) - 1)\n            ||",
        instead: "",
        cell: GATES,
        noticed: "a gate for no kind of bio: EINVAL",
    },
    Removal {
        name: "io_length",
        file: "request.rs",
        item: "impl Request {",
        code: "(segment.address | segment.length) & misaligned",
        instead: "segment.address & misaligned",
        cell: TRANSFERS,
        noticed: "two halves of a sector: EINVAL",
    },
    Removal {
        name: "io_block",
        file: "request.rs",
        item: "impl Request {",
        code: "(bytes | self.start) & within_block",
        instead: "self.start & within_block",
        cell: TRANSFERS,
        noticed: "a part of a block: EINVAL",
    },
    Removal {
        name: "answer_hold",
        file: "control/hold.rs",
        item: "impl Control {",
        code: "answer.is_err()",
        instead: "false",
        cell: HOLDS,
        noticed: "every pin is released",
    },
    Removal {
        name: "signal_int",
        file: "sys/transfer.rs",
        item: "impl<A: Acquisition> Transfer<A> {",
        code: "if is_signalled() && self.is_left(place) {\n                return Err(EINTR);\n            }",
        instead: "let _ = (is_signalled, self.is_left(place));",
        cell: "transfer_interrupted::bdev::pin::observe",
        noticed: "it ends with EINTR, and with a part of the bytes",
    },
];

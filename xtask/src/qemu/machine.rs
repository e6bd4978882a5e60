// SPDX-License-Identifier: MIT OR Apache-2.0

//! The machine that guests run on, as a QEMU command line.

use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::PROGRAM;
use super::accelerator::Accelerator;
use crate::kernel::flavour::Flavour;
use fs_harness::protocol::{AGENT_PORT, KERNEL_LOG_PORT};
use fs_harness::stream;

/// Guests need room for the media, which are in their memory.
const MEMORY_MIB: u32 = 512;

/// Kernel parameters, and why each.
const PARAMETERS: &[&str] = &[
    "console=ttyS0",
    // What is printed early is printed at once, and so it stays: a thread of the kernel prints for the
    // ordinary console, and does not come to it on a processor that is stuck.
    "earlyprintk=ttyS0,keep",
    // The serial console is slow; the log goes over a virtio-serial port.
    "quiet",
    // A panic ends QEMU at once, and an oops is one: after it locks stay held and the guest only hangs.
    "panic=-1",
    "reboot=t",
    "oops=panic",
    // The kernel's own test suites, which are built in for the sake of the driver's.
    "kunit.enable=0",
    // The same addresses in every run.
    "nokaslr",
    "norandmaps",
    // Nothing to calibrate: seconds of boot.
    "tsc=reliable",
    "no_timer_check",
    "lpj=4000000",
    "random.trust_cpu=on",
    "cryptomgr.notests",
    "rcupdate.rcu_expedited=1",
    "raid=noautodetect",
    // Nothing that a scenario logs may be overwritten before it is streamed.
    "log_buf_len=4M",
    // The agent's marks in the log must not be dropped for being many.
    "printk.devkmsg=on",
];

/// Where the guest's channels lead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Channels {
    /// To sockets in the current folder on which the harness listens.
    Harness,
    /// To files in the current folder and to the terminal: for a person who repeats the command.
    Person,
}

/// Where a guest's memory is.
#[derive(Clone, Copy, Debug)]
pub enum Memory<'a> {
    /// In no file.
    Anonymous,
    /// In this file, which the guest writes to and which is made where it is not there.
    Kept(&'a Path),
    /// As this file has it. What the guest writes goes into copies of the pages, and never into the file.
    Copied(&'a Path),
}

/// Everything that a guest is made of.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Machine {
    /// What it runs under.
    pub accelerator: Accelerator,
    /// The kernel, as an ELF file that QEMU boots by PVH.
    pub kernel: PathBuf,
    /// What the kernel is configured for.
    pub flavour: Flavour,
    /// The initramfs.
    pub image: PathBuf,
    /// The processors of the guest.
    pub processors: NonZeroU32,
    /// The guest's clocks count its instructions, and not the host's time.
    pub icount: bool,
    /// Kernel parameters beyond those of every guest; they win over those.
    pub parameters: Vec<String>,
}

impl Machine {
    /// QEMU's machine type.
    pub const TYPE: &str = "q35";

    /// QEMU's processor model.
    pub fn cpu(&self) -> &'static str {
        if self.accelerator.is_emulation() { "max" } else { "host" }
    }

    /// What a reader must know of it, in words.
    pub fn description(&self) -> String {
        let processors = match self.processors.get() {
            1 => String::new(),
            several => format!(" with {several} processors"),
        };
        format!("{}{processors}{}", Self::TYPE, if self.icount { " counting instructions" } else { "" })
    }

    /// The command line of a guest that boots; `parameters` are added to the kernel's.
    pub fn command_line(&self, channels: Channels, parameters: &str) -> Vec<String> {
        let (flavour, own) = (self.flavour.parameters().join(" "), self.parameters.join(" "));
        let append = [&PARAMETERS.join(" "), flavour.as_str(), own.as_str(), parameters].join(" ");
        let kernel = ["-kernel", &self.kernel.to_string_lossy(), "-initrd", &self.image.to_string_lossy()]
            .map(str::to_owned);
        let append = ["-append".to_owned(), append.trim_end().to_owned()];
        [self.hardware(channels), kernel.to_vec(), append.to_vec()].concat()
    }

    /// The command line of a guest that QEMU is to restore: its kernel is in its memory, and loading it
    /// again would only take time.
    pub fn restoring(&self, channels: Channels) -> Vec<String> {
        [self.hardware(channels), ["-incoming", "defer"].map(str::to_owned).to_vec()].concat()
    }

    fn hardware(&self, channels: Channels) -> Vec<String> {
        let mut words: Vec<String> = Vec::new();
        let mut add = |option: &str, value: &str| words.extend([option.to_owned(), value.to_owned()]);
        let socket = |id: &str| format!("socket,id={id},path={id}.sock");
        let file = |id: &str| format!("file,id={id},path={id}.out");
        let chardev = |id: &str| if channels == Channels::Harness { socket(id) } else { file(id) };

        add("-accel", &self.accelerator.name);
        add("-M", Self::TYPE);
        add("-cpu", self.cpu());
        // A kernel without ACPI finds processors in the firmware's older table, which has one of each socket.
        add("-smp", &format!("{0},sockets={0}", self.processors));
        if self.icount {
            // Two nanoseconds an instruction; a guest that sleeps is woken at once.
            add("-icount", "shift=1,sleep=off");
        }
        add("-m", &MEMORY_MIB.to_string());
        add("-display", "none");
        // A panic is told by QMP before the console has printed it.
        add("-device", "pvpanic-pci");
        add("-device", "virtio-serial-pci");
        for (id, port) in [("agent", AGENT_PORT), ("kmsg", KERNEL_LOG_PORT), ("stream", stream::PORT)] {
            add("-chardev", &chardev(id));
            add("-device", &format!("virtserialport,chardev={id},name={port}"));
        }
        match channels {
            Channels::Harness => {
                add("-chardev", &socket("console"));
                add("-serial", "chardev:console");
                add("-chardev", &socket("qmp"));
                add("-mon", "chardev=qmp,mode=control");
            }
            Channels::Person => add("-serial", "mon:stdio"),
        }
        let flags = ["-nodefaults", "-no-user-config", "-no-reboot"].map(str::to_owned);
        [vec![PROGRAM.to_owned()], flags.to_vec(), words].concat()
    }
}

impl Memory<'_> {
    /// What it adds to the command line. It changes nothing of the machine that a guest sees.
    pub fn options(self) -> Vec<String> {
        let (path, share) = match self {
            Memory::Anonymous => return Vec::new(),
            Memory::Kept(path) => (path, "on"),
            Memory::Copied(path) => (path, "off"),
        };
        // QEMU reads two commas as one that is part of the value.
        let path = path.to_string_lossy().replace(',', ",,");
        let file = format!("memory-backend-file,id=memory,size={MEMORY_MIB}M,share={share},mem-path={path}");
        ["-object", &file, "-machine", "memory-backend=memory"].map(str::to_owned).to_vec()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine() -> Machine {
        Machine {
            accelerator: Accelerator { name: "tcg".into(), why: "asked for".into() },
            kernel: "/cache/vmlinux".into(),
            flavour: Flavour::Standard,
            image: "/cache/initramfs.cpio".into(),
            processors: NonZeroU32::MIN,
            icount: false,
            parameters: Vec::new(),
        }
    }

    #[test]
    fn what_is_not_usual_is_in_the_description_and_on_the_command_line() {
        assert_eq!(machine().description(), "q35");
        let unusual = Machine { processors: NonZeroU32::new(2).unwrap(), icount: true, ..machine() };
        assert_eq!(unusual.description(), "q35 with 2 processors counting instructions");
        let line = unusual.command_line(Channels::Person, "").join(" ");
        assert!(line.contains("-smp 2,sockets=2 ") && line.contains("-icount shift=1,sleep=off "), "{line}");
    }

    #[test]
    fn a_guest_that_is_restored_loads_no_kernel_and_never_writes_to_what_it_starts_from() {
        let line = machine().restoring(Channels::Harness).join(" ");
        assert!(line.ends_with("-incoming defer") && !line.contains("/cache/"), "{line}");
        let memory = Memory::Copied(Path::new("/a,b/memory")).options().join(" ");
        assert!(memory.contains("share=off") && memory.contains("mem-path=/a,,b/memory"), "{memory}");
    }

    #[test]
    fn the_command_line_names_no_port_number_and_every_channel() {
        let line = machine().command_line(Channels::Harness, "").join(" ");
        for channel in
            ["agent.sock", "kmsg.sock", "stream.sock", "console.sock", "qmp.sock", "name=pinbed.agent"]
        {
            assert!(line.contains(channel), "{channel} is not in {line}");
        }
        assert!(!line.contains("tcp:") && !line.contains("vsock"), "{line}");
    }
}

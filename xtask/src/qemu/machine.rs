// SPDX-License-Identifier: MIT OR Apache-2.0

//! The machine that guests run on, as a QEMU command line.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::PROGRAM;
use super::accelerator::Accelerator;
use fs_harness::protocol::{AGENT_PORT, KERNEL_LOG_PORT};
use fs_harness::stream;

/// Guests need room for the media, which are in their memory.
const MEMORY_MIB: u32 = 512;

/// Kernel parameters, and why each.
const PARAMETERS: &[&str] = &[
    "console=ttyS0",
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

/// Everything that a guest is made of.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Machine {
    /// What it runs under.
    pub accelerator: Accelerator,
    /// The kernel, as an ELF file that QEMU boots by PVH.
    pub kernel: PathBuf,
    /// The initramfs.
    pub image: PathBuf,
}

impl Machine {
    /// QEMU's machine type.
    pub const TYPE: &str = "q35";

    /// QEMU's processor model.
    pub fn cpu(&self) -> &'static str {
        if self.accelerator.is_emulation() { "max" } else { "host" }
    }

    /// The command line; `parameters` are added to the kernel's.
    pub fn command_line(&self, channels: Channels, parameters: &str) -> Vec<String> {
        let mut words: Vec<String> = Vec::new();
        let mut add = |option: &str, value: &str| words.extend([option.to_owned(), value.to_owned()]);
        let socket = |id: &str| format!("socket,id={id},path={id}.sock");
        let file = |id: &str| format!("file,id={id},path={id}.out");
        let chardev = |id: &str| if channels == Channels::Harness { socket(id) } else { file(id) };

        add("-accel", &self.accelerator.name);
        add("-M", Self::TYPE);
        add("-cpu", self.cpu());
        add("-smp", "1");
        add("-m", &MEMORY_MIB.to_string());
        add("-display", "none");
        add("-kernel", &self.kernel.to_string_lossy());
        add("-initrd", &self.image.to_string_lossy());
        add("-append", format!("{} {parameters}", PARAMETERS.join(" ")).trim_end());
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_names_no_port_number_and_every_channel() {
        let machine = Machine {
            accelerator: Accelerator { name: "tcg".into(), why: "asked for".into() },
            kernel: "/cache/vmlinux".into(),
            image: "/cache/initramfs.cpio".into(),
        };
        let line = machine.command_line(Channels::Harness, "").join(" ");
        for channel in
            ["agent.sock", "kmsg.sock", "stream.sock", "console.sock", "qmp.sock", "name=pinbed.agent"]
        {
            assert!(line.contains(channel), "{channel} is not in {line}");
        }
        assert!(!line.contains("tcp:") && !line.contains("vsock"), "{line}");
    }
}

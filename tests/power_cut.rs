//! Power cuts of a real disk: a filesystem on a loop device, whose image is copied at some moment and mounted as it is.
//!
//! What the kernel still holds in memory is not in the copy, as it is not on a disk whose power fails.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use scribefs::model::InboxId;
use scribefs::spool::{Creator, Spool, SpoolEvent, SpoolOptions};

/// A filesystem of its own, unmounted when it is dropped.
struct Disk {
    mounted: PathBuf,
}

fn run(program: &str, arguments: &[&str]) -> bool {
    let output = Command::new(program).args(arguments).output();
    output.is_ok_and(|output| output.status.success())
}

impl Disk {
    fn mount(image: &Path, at: &Path) -> Option<Self> {
        fs::create_dir_all(at).unwrap();
        let (from, to) = (image.to_str().unwrap(), at.to_str().unwrap());
        run("mount", &["-o", "loop", from, to]).then(|| Self { mounted: at.to_owned() })
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if !run("umount", &[self.mounted.to_str().unwrap()]) {
            run("umount", &["-l", self.mounted.to_str().unwrap()]);
        }
    }
}

fn options(settle: Duration) -> SpoolOptions {
    SpoolOptions {
        settle,
        settle_after_rename: settle,
        max_upload_bytes: None,
        keep_free_bytes: 0,
        sync_on_close: false,
    }
}

const BYTES: usize = 3_000_000;

fn content(number: usize) -> Vec<u8> {
    (0..BYTES).map(|at| u8::try_from((at / 7 + number) % 251).unwrap()).collect()
}

fn drop_in(spool: &Spool, parent: InboxId, name: &str, bytes: &[u8]) {
    let creator = Creator { uid: 0, gid: 0, mode: 0o644, thread: 0 };
    let flags = libc::O_CREAT | libc::O_WRONLY;
    let (_, open) = spool.create(parent, OsStr::new(name), creator, flags).unwrap();
    open.file.write_all_at(bytes, 0).unwrap();
    spool.release(&open);
}

#[test]
fn what_was_offered_outlives_a_power_cut_and_what_was_not_is_never_taken_in_half() {
    let test = "what_was_offered_outlives_a_power_cut_and_what_was_not_is_never_taken_in_half";
    let dir = tempfile::tempdir().unwrap();
    let image = dir.path().join("disk");
    File::create(&image).unwrap().set_len(128 << 20).unwrap();
    let is_made = run("mkfs.ext4", &["-q", "-F", image.to_str().unwrap()]);
    let Some(disk) = Disk::mount(&image, &dir.path().join("before")).filter(|_| is_made) else {
        eprintln!("skipped: {test}: no filesystem can be made on a loop device");
        return;
    };
    let spool =
        Spool::open(&disk.mounted.join("spool"), options(Duration::from_millis(50))).unwrap();
    let events = spool.subscribe();
    let creator = Creator { uid: 0, gid: 0, mode: 0o755, thread: 0 };
    for number in 0..3 {
        let folder = format!("folder-{number}");
        let folder = spool.make_directory(InboxId::ROOT, OsStr::new(&folder), creator).unwrap().id;
        drop_in(&spool, folder, "a.wav", &content(number));
    }
    for _ in 0..3 {
        while !matches!(events.recv_timeout(Duration::from_secs(60)).unwrap(), SpoolEvent::Ready(_))
        {
        }
    }
    // And one that has only just been closed.
    let slow = Spool::open(&disk.mounted.join("slow"), options(Duration::from_secs(3600))).unwrap();
    drop_in(&slow, InboxId::ROOT, "closed.wav", &content(9));
    let after = dir.path().join("after.disk");
    fs::copy(&image, &after).unwrap();

    let cut = Disk::mount(&after, &dir.path().join("after")).unwrap();
    for number in 0..3 {
        let path = cut.mounted.join(format!("spool/inbox/folder-{number}/a.wav"));
        assert!(fs::read(path).unwrap() == content(number), "recording {number} was cut");
    }
    let spool_after =
        Spool::open(&cut.mounted.join("spool"), options(Duration::from_millis(50))).unwrap();
    let events = spool_after.subscribe();
    let mut taken = 0;
    while taken < 3 {
        let event = events.recv_timeout(Duration::from_secs(60)).expect("it is taken by itself");
        taken += usize::from(matches!(event, SpoolEvent::Ready(_)));
    }
    let path = cut.mounted.join("slow/inbox/closed.wav");
    let is_whole = fs::read(&path).is_ok_and(|bytes| bytes == content(9));
    // Same system, so its mark would still count here; what matters is that it has one.
    let name = c"user.scribefs.mark".as_ptr();
    let in_c = format!("{}\0", path.to_str().unwrap());
    // SAFETY: both strings end in NUL, and nothing is written to a value of no size.
    let mark = unsafe { libc::getxattr(in_c.as_ptr().cast(), name, std::ptr::null_mut(), 0) };
    assert!(is_whole || !path.exists() || mark > 0, "half a recording without a mark");
    drop((spool_after, spool, slow));
}

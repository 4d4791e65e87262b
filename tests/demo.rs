//! `pgtide demo`, as a visitor runs it: the story is told, both sides are equal, nothing is left.

use std::fs::{self, Permissions};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use nix::errno::Errno;
use nix::sys::signal;
use nix::unistd::Pid;

use crate::support;

#[tokio::test]
async fn the_demo_ends_well_and_leaves_no_server() {
    // The servers run as a user of their own where this is root, and must get into the folder.
    let folder = tempfile::tempdir_in("/tmp").unwrap();
    fs::set_permissions(folder.path(), Permissions::from_mode(0o777)).unwrap();
    let demo = support::pgtide(&["demo"]).env("TMPDIR", folder.path()).spawn();
    support::until("both servers are up", || async { postmasters(folder.path()).len() == 2 }).await;
    let servers = postmasters(folder.path());
    let output = demo.finish().await.expect(0);
    let digests: Vec<_> = output.stdout.lines().filter_map(digest).collect();
    assert_eq!(digests.len(), 2, "{}", output.stdout);
    assert_eq!(digests[0], digests[1], "{}", output.stdout);
    assert!(digests[0].starts_with("27,004 rows"), "{}", output.stdout);
    assert!(output.stdout.contains("#  mart.carrier_delays  fresh"), "{}", output.stdout);
    for (pid, port) in servers {
        assert_eq!(signal::kill(Pid::from_raw(pid), None), Err(Errno::ESRCH), "server {pid} goes on");
        assert!(TcpStream::connect(("127.0.0.1", port)).is_err(), "something listens on {port}");
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "files are left");
}

/// The process and the port of each server below a folder that is ready for connections.
fn postmasters(folder: &Path) -> Vec<(i32, u16)> {
    let entries = fs::read_dir(folder).unwrap().filter_map(Result::ok);
    let files = entries.filter_map(|e| fs::read_to_string(e.path().join("data/postmaster.pid")).ok());
    let read = |text: String| {
        let lines: Vec<&str> = text.lines().map(str::trim).collect();
        let is_ready = lines.get(7).is_some_and(|status| *status == "ready");
        is_ready.then(|| Some((lines[0].parse().ok()?, lines.get(3)?.parse().ok()?))).flatten()
    };
    files.filter_map(read).collect()
}

/// `27,004 rows  395049076826260926981` of a line such as `   source     27,004 rows  395049...`.
fn digest(line: &str) -> Option<String> {
    let line = line.strip_prefix("   source ").or_else(|| line.strip_prefix("   warehouse "))?;
    line.contains(" rows  ").then(|| line.trim().to_owned())
}

//! The limit of file descriptors of the process. Uses nothing of the crate.

/// Returns the number of descriptors that the process may still open; `None` if the platform does not limit or report
/// them.
#[cfg(unix)]
pub(super) fn left() -> Option<usize> {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current?;
    let open = std::fs::read_dir("/dev/fd").ok()?.count();
    Some(usize::try_from(limit).unwrap_or(usize::MAX).saturating_sub(open))
}

#[cfg(not(unix))]
pub(super) fn left() -> Option<usize> {
    None
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    #[test]
    fn open_files_are_counted() {
        let before = super::left().unwrap();
        let files: Vec<_> = (0..100).map(|_| std::fs::File::open("/dev/null").unwrap()).collect();
        // Other tests open and close files meanwhile.
        assert!(super::left().unwrap() < before + 50);
        drop(files);
    }
}

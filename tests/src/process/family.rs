//! The processes below a process.

use rustix::process::Pid;

/// The children of a process, their children and so on, in this order.
pub(super) fn descendants(ancestor: Pid) -> Vec<Pid> {
    let parents = parents();
    let mut family = vec![ancestor.as_raw_pid()];
    let mut next = 0;
    while let Some(&parent) = family.get(next) {
        let children = parents.iter().filter(|(_, its)| *its == parent);
        family.extend(children.map(|(pid, _)| *pid));
        next += 1;
    }
    family
        .into_iter()
        .skip(1)
        .filter_map(Pid::from_raw)
        .collect()
}

/// Every process with its parent.
fn parents() -> Vec<(i32, i32)> {
    let entries = std::fs::read_dir("/proc").expect("/proc is there");
    entries
        .filter_map(|entry| {
            let pid: i32 = entry.ok()?.file_name().to_str()?.parse().ok()?;
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
            // pid (name, which may hold anything) state parent ...
            let (_, behind_name) = stat.rsplit_once(')')?;
            let parent = behind_name.split_whitespace().nth(1)?.parse().ok()?;
            Some((pid, parent))
        })
        .collect()
}

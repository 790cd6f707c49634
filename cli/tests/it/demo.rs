use crate::harness::{json, run, stdout_of, text, towpath};

#[test]
fn the_demo_kills_its_broker_and_finds_everything() {
    let folder = tempfile::tempdir().expect("a folder");
    let report = stdout_of(towpath(&["demo", "-o", "json"]).env("TMPDIR", folder.path()));
    let report = json(&report);
    assert_eq!(report["is_ok"], true, "{report}");
    assert_eq!(
        (&report["records"], &report["acknowledged"]),
        (&2000.into(), &2000.into())
    );
    for name in ["missing", "doubled", "foreign", "keys_out_of_order"] {
        assert_eq!(report[name], 0, "{name} in {report}");
    }
    let before = report["acknowledged_before_kill"].as_u64();
    assert!(before > Some(0) && before < Some(2_000), "{report}");
    let left = std::fs::read_dir(folder.path())
        .expect("the folder")
        .count();
    assert_eq!(left, 0, "nothing is left");
}

#[test]
fn the_demo_is_told_in_a_few_lines_and_kept_on_request() {
    let folder = tempfile::tempdir().expect("a folder");
    // What is set for other brokers does not disturb it.
    let mut command = towpath(&["demo", "--keep"]);
    command
        .env("TMPDIR", folder.path())
        .env("TOWPATH_DATA_DIR", "/nowhere/at/all");
    let output = run(&mut command);
    let story = text(&output.stdout);
    assert_eq!(
        output.status.code(),
        Some(0),
        "{story}{}",
        text(&output.stderr)
    );
    assert!(story.lines().count() <= 8, "{story}");
    assert!(
        story.ends_with("ok: what was acknowledged is there, once and in order\n"),
        "{story}"
    );
    assert_eq!(text(&output.stderr), "", "nothing else is said");
    let kept = std::fs::read_dir(folder.path())
        .expect("the folder")
        .count();
    assert_eq!(kept, 1, "the folder is left");
}

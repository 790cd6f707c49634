//! The committed code in `src/generated` is what the `.proto` files say.
//!
//! Compiles `towpath/v1/*.proto` into a temporary folder and compares byte for byte; with `UPDATE=1`
//! it writes the files instead. Building the crate therefore needs neither protoc nor this step.
#![expect(clippy::expect_used, reason = "a test ends where its tools fail")]

use std::fs;
use std::path::{Path, PathBuf};

use prost::Message;
use prost_types::{FileDescriptorProto, FileDescriptorSet};

/// Services whose streams carry batches: they use the wire view of those messages.
const DATA_SERVICES: [&str; 2] = ["ProduceService", "CommitService"];
const FETCH_SERVICES: [&str; 3] = ["FetchService", "GroupService", "SubscriptionService"];

#[test]
fn generated_code_is_what_the_proto_files_say() {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    let target = manifest.join("src/generated");
    for (name, bytes) in generate(manifest) {
        let path = target.join(name);
        if std::env::var_os("UPDATE").is_some() {
            fs::write(&path, &bytes).expect("the generated file can be written");
        }
        let committed = fs::read(&path).unwrap_or_default();
        assert!(
            committed == bytes,
            "{name} is out of date: run UPDATE=1 cargo test -p towpath-proto --test generated_code"
        );
    }
}

#[test]
fn every_part_of_the_contract_has_a_comment() {
    let descriptors = compile(Path::new(env!("CARGO_MANIFEST_DIR")));
    let own = |file: &FileDescriptorProto| file.package() == "towpath.v1";
    for file in descriptors.file.into_iter().filter(own) {
        let source = file
            .source_code_info
            .as_ref()
            .expect("compiled with source information");
        for path in documented_paths(&file) {
            let comment = source
                .location
                .iter()
                .find(|location| location.path == path)
                .and_then(|location| location.leading_comments.as_deref())
                .unwrap_or_default();
            assert!(
                !comment.trim().is_empty(),
                "{} has no comment at {path:?}",
                file.name()
            );
            assert!(
                !needs_default(&file, &path) || comment.contains("Default:"),
                "{} does not say the default at {path:?}",
                file.name()
            );
        }
    }
}

/// Whether the path is that of a field which is not a choice of a oneof.
fn needs_default(file: &FileDescriptorProto, path: &[i32]) -> bool {
    let &[4, message, 2, field] = path else {
        return false;
    };
    let index = |i| usize::try_from(i).expect("descriptor paths are not negative");
    let field = &file.message_type[index(message)].field[index(field)];
    field.oneof_index.is_none() || field.proto3_optional()
}

/// Paths, as descriptors number them, of all messages, fields, enums, values, services and methods.
fn documented_paths(file: &FileDescriptorProto) -> Vec<Vec<i32>> {
    let mut paths = Vec::new();
    for (i, message) in (0..).zip(&file.message_type) {
        paths.push(vec![4, i]);
        paths.extend(
            (0..)
                .zip(&message.field)
                .map(|(field, _)| vec![4, i, 2, field]),
        );
    }
    for (i, enumeration) in (0..).zip(&file.enum_type) {
        paths.push(vec![5, i]);
        paths.extend(
            (0..)
                .zip(&enumeration.value)
                .map(|(value, _)| vec![5, i, 2, value]),
        );
    }
    for (i, service) in (0..).zip(&file.service) {
        paths.push(vec![6, i]);
        paths.extend(
            (0..)
                .zip(&service.method)
                .map(|(method, _)| vec![6, i, 2, method]),
        );
    }
    paths
}

/// Returns the name and content of every generated file.
fn generate(manifest: &Path) -> Vec<(&'static str, Vec<u8>)> {
    let descriptors = compile(manifest);
    let messages = tonic_prost_build::configure()
        .build_client(false)
        .build_server(false)
        .bytes(".")
        .btree_map(".towpath.v1.Error.metadata");
    let data_services = services_builder()
        .extern_path(".towpath.v1.ProduceRequest", "crate::wire::ProduceRequest")
        .extern_path(".towpath.v1.PublishRequest", "crate::wire::PublishRequest")
        .extern_path(".towpath.v1.CommitRequest", "crate::wire::CommitRequest")
        .codec_path("crate::wire::DataCodec");
    let fetch_services = services_builder()
        .extern_path(".towpath.v1.FetchResponse", "crate::wire::FetchResponse")
        .extern_path(".towpath.v1.JoinResponse", "crate::wire::JoinResponse")
        .extern_path(
            ".towpath.v1.ReceiveResponse",
            "crate::wire::ReceiveResponse",
        )
        .extern_path(".towpath.v1.PullResponse", "crate::wire::PullResponse")
        .codec_path("crate::wire::FetchCodec");
    let control_services = services_builder().codec_path("crate::wire::ControlCodec");

    let temporary = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let is_data = |name: &str| DATA_SERVICES.contains(&name);
    let is_fetch = |name: &str| FETCH_SERVICES.contains(&name);
    let only = |is_wanted: &dyn Fn(&str) -> bool| only_services(&descriptors, is_wanted);
    vec![
        (
            "messages.rs",
            run(messages, &temporary.join("messages"), only(&|_| false)),
        ),
        (
            "data_services.rs",
            run(data_services, &temporary.join("data"), only(&is_data)),
        ),
        (
            "fetch_services.rs",
            run(fetch_services, &temporary.join("fetch"), only(&is_fetch)),
        ),
        (
            "control_services.rs",
            run(
                control_services,
                &temporary.join("control"),
                only(&|name| !is_data(name) && !is_fetch(name)),
            ),
        ),
        (
            "descriptor_set.bin",
            without_source_info(descriptors.clone()).encode_to_vec(),
        ),
    ]
}

fn services_builder() -> tonic_prost_build::Builder {
    tonic_prost_build::configure().extern_path(".towpath.v1", "crate::v1")
}

fn compile(manifest: &Path) -> FileDescriptorSet {
    let folder = manifest.join("towpath/v1");
    let mut files: Vec<PathBuf> = fs::read_dir(&folder)
        .expect("the folder of proto files can be read")
        .map(|entry| entry.expect("the folder of proto files can be read").path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "proto")
        })
        .collect();
    files.sort();
    protox::compile(files, [manifest]).expect("the proto files compile")
}

fn only_services(
    descriptors: &FileDescriptorSet,
    is_wanted: impl Fn(&str) -> bool,
) -> FileDescriptorSet {
    let mut descriptors = descriptors.clone();
    for file in &mut descriptors.file {
        // Comments are found by index, so a service that is not wanted can only be cut off whole.
        if file
            .service
            .iter()
            .any(|service| !is_wanted(service.name()))
        {
            file.service.clear();
        }
    }
    descriptors
}

fn without_source_info(mut descriptors: FileDescriptorSet) -> FileDescriptorSet {
    for file in &mut descriptors.file {
        file.source_code_info = None;
    }
    descriptors
}

/// Runs one generator and returns the one file it makes for the package.
fn run(builder: tonic_prost_build::Builder, folder: &Path, set: FileDescriptorSet) -> Vec<u8> {
    fs::create_dir_all(folder).expect("a temporary folder can be made");
    builder
        .emit_rerun_if_changed(false)
        .out_dir(folder)
        .compile_fds(set)
        .expect("the descriptors generate");
    fs::read(folder.join("towpath.v1.rs")).expect("the generator wrote the package's file")
}

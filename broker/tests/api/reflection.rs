//! What tools such as grpcurl learn from the broker itself, in both versions of their protocol.

use crate::harness::{TestBroker, soon};

/// Asks one thing in one version of the protocol and evaluates to the answer.
macro_rules! ask {
    ($broker:expr, $version:ident, $question:ident($argument:expr)) => {{
        use tonic_reflection::pb::$version::server_reflection_client::ServerReflectionClient;
        use tonic_reflection::pb::$version::server_reflection_request::MessageRequest;
        use tonic_reflection::pb::$version::server_reflection_response::MessageResponse;

        let request = tonic_reflection::pb::$version::ServerReflectionRequest {
            host: String::new(),
            message_request: Some(MessageRequest::$question($argument.to_owned())),
        };
        let mut client = ServerReflectionClient::new($broker.channel.clone());
        let answers = client.server_reflection_info(tokio_stream::once(request));
        let mut answers = soon(answers).await.unwrap().into_inner();
        let answer = soon(answers.message()).await.unwrap().unwrap();
        match answer.message_response.unwrap() {
            MessageResponse::ListServicesResponse(list) => {
                list.service.into_iter().map(|it| it.name).collect()
            }
            MessageResponse::FileDescriptorResponse(files) => {
                let files = files.file_descriptor_proto;
                files
                    .iter()
                    .map(|it| String::from_utf8_lossy(it).into_owned())
                    .collect()
            }
            other => vec![format!("{other:?}")],
        }
    }};
}

#[tokio::test]
async fn all_services_are_listed() {
    let broker = TestBroker::start().await;
    let v1: Vec<String> = ask!(broker, v1, ListServices(""));
    let v1alpha: Vec<String> = ask!(broker, v1alpha, ListServices(""));
    for listed in [v1, v1alpha] {
        for name in [
            "towpath.v1.AdminService",
            "towpath.v1.FetchService",
            "towpath.v1.ProduceService",
            "towpath.v1.TopicService",
            "grpc.health.v1.Health",
        ] {
            assert!(listed.iter().any(|it| it == name), "{name} in {listed:?}");
        }
    }
}

#[tokio::test]
async fn messages_and_the_details_of_a_refusal_are_described() {
    let broker = TestBroker::start().await;
    for (symbol, content) in [
        ("towpath.v1.Record", "event_time_ms"),
        ("google.rpc.ErrorInfo", "reason"),
        ("google.rpc.BadRequest", "field_violations"),
        ("google.rpc.ResourceInfo", "resource_name"),
        ("google.rpc.RetryInfo", "retry_delay"),
        ("google.rpc.Help", "links"),
    ] {
        let v1: Vec<String> = ask!(broker, v1, FileContainingSymbol(symbol));
        let v1alpha: Vec<String> = ask!(broker, v1alpha, FileContainingSymbol(symbol));
        for files in [v1, v1alpha] {
            assert!(files.concat().contains(content), "{symbol}: {files:?}");
        }
    }
}

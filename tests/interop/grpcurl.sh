#!/usr/bin/env bash
# A broker used with grpcurl: what it offers is learned from it by reflection.
source ./lib.sh

version=v1.9.4
tools=$INTEROP_TARGET/grpcurl-$version
if [[ ! -x $tools/grpcurl ]]; then
    printf 'installing grpcurl %s\n' "$version"
    GOBIN=$tools go install "github.com/fullstorydev/grpcurl/cmd/grpcurl@$version"
fi
PATH=$tools:$PATH

start_broker

call() { grpcurl -plaintext -max-time 20 -emit-defaults "$@"; }
# The same without reflection, from the files.
call_by_files() {
    local services
    services=$(cd "$INTEROP_ROOT/proto" && printf -- '-proto %s ' towpath/v1/*_service.proto)
    # shellcheck disable=SC2086 # One word for each file.
    call -import-path "$INTEROP_ROOT/proto" $services "$@"
}
# Messages of a stream, one an argument.
stream() {
    local method=$1
    printf '%s\n' "${@:2}" | call -d @ "$address" "$method"
}
# The command of a page that calls this method with grpcurl, sent to our broker.
documented() {
    awk -v method="$2" '
        /^ *grpcurl / { command = ""; is_inside = 1 }
        is_inside { command = command $0 "\n" }
        is_inside && !/\\$/ { is_inside = 0; if (index(command, method)) printf "%s", command }
    ' "$INTEROP_ROOT/docs/$1" | sed "s/127\.0\.0\.1:7600/$address/" | bash
}

for service in AdminService CommitService DeadLetterService FetchService GroupService KeyService \
    ProduceService SubscriptionService TopicService; do
    check "lists_$service" ok "towpath.v1.$service" call "$address" list
done
check lists_health ok grpc.health.v1.Health call "$address" list
check describes_a_service ok 'rpcPublish(.towpath.v1.PublishRequest)returns(.towpath.v1.PublishResponse);' \
    call "$address" describe towpath.v1.ProduceService
check describes_a_message ok 'optionalbyteskey=1' call "$address" describe towpath.v1.Record

check is_healthy ok '"status":"SERVING"' call "$address" grpc.health.v1.Health/Check
check tells_its_limits ok '"batchBytesMax":"4194304"' call "$address" towpath.v1.AdminService/GetServerInfo

check creates_a_topic ok '"partitionCount":3' \
    call -d '{"name":"orders","partition_count":3}' "$address" towpath.v1.TopicService/CreateTopic
check refuses_a_topic_twice fails 'AlreadyExists' \
    call -d '{"name":"orders"}' "$address" towpath.v1.TopicService/CreateTopic
unknown_topic() { call -d '{"name":"odrers"}' "$address" towpath.v1.TopicService/GetTopic; }
check says_what_is_not_there fails 'topic"odrers"notfound' unknown_topic
check says_why_in_a_word fails '"reason":"TOPIC_NOT_FOUND"' unknown_topic
check says_what_was_meant fails 'didyoumean\"orders\"?' unknown_topic

# murmur2("42") is 417700772, so partition 1 of 3.
check publishes_a_record_as_documented ok '"positions":[{"partition":1}],"lsn":"' documented protocol.md Publish
check fetches_it ok '"records":[{"key":"NDI=","value":"eyJvcmRlciI6NDJ9","headers":[]}]' \
    call -d '{"sources":[{"topic":"orders"}]}' "$address" towpath.v1.FetchService/Fetch
check tells_the_end_of_a_partition ok '"caughtUp":{"handle":0,"partition":1,"endOffset":"1"' \
    call -d '{"sources":[{"topic":"orders"}]}' "$address" towpath.v1.FetchService/Fetch

open='{"open":{"handle":7,"topic":"orders","producer_id":"MDEyMzQ1Njc4OWFiY2RlZg=="}}'
batch='{"produce":{"handle":7,"partition":2,"sequence":0,"batch":{"records":[{"value":"aGk="}]}}}'
check produces_on_a_stream ok '"partition":2,"sequence":"0","baseOffset":"0","recordCount":1' \
    stream towpath.v1.ProduceService/Produce "$open" "$batch"
check makes_no_duplicate ok '"isDuplicate":true' \
    stream towpath.v1.ProduceService/Produce "$open" "$batch"

check changes_a_topic_as_documented ok '"config":{"retentionAgeMs":"604800000"},"etag":"' \
    documented protocol.md UpdateTopic
check unsets_a_setting ok '"config":null,"etag":"' \
    call -d '{"name":"orders","update_mask":{"paths":["retention_age_ms"]}}' \
    "$address" towpath.v1.TopicService/UpdateTopic
check refuses_a_change_of_what_was_not_seen fails '"reason":"ETAG_MISMATCH"' \
    call -d '{"name":"orders","config":{"retention_bytes":1},"etag":"1-0"}' \
    "$address" towpath.v1.TopicService/UpdateTopic
check tells_what_a_trim_would_do ok '"partitions":[{"partition":1,"trimmed":{"start":"0","end":"1"}}]' \
    call -d '{"name":"orders","partitions":[1],"before":{"offset":1},"validate_only":true}' \
    "$address" towpath.v1.TopicService/TrimTopic
check trims_to_the_end ok '"partition":2,"trimmed":{"start":"0","end":"1"}' \
    call -d '{"name":"orders","before":{"end":{}}}' "$address" towpath.v1.TopicService/TrimTopic
check shows_what_is_left ok '"recordCount":"0"' \
    call -d '{"name":"orders"}' "$address" towpath.v1.TopicService/GetTopic

check creates_a_topic_that_looks_at_records ok '"dedupeWindowMs":"60000","keyVersions":true' \
    call -d '{"name":"accounts","partition_count":1,"config":{"dedupe_window_ms":60000,"key_versions":true}}' \
    "$address" towpath.v1.TopicService/CreateTopic
publish_an_event() {
    call -d '{"topic":"accounts","records":[{"key":"YWxpY2U=","value":"aGk=","headers":[
        {"name":"ce-source","value":"L3Nob3A="},{"name":"ce-id","value":"NDI="}]}]}' \
        "$address" towpath.v1.ProduceService/Publish
}
check publishes_an_event ok '"lsn":"' publish_an_event
check tells_that_it_is_there ok '"isRepeated":true' publish_an_event
check reads_a_key_as_documented ok '"currentVersion":"1","records":[{"version":"1"' \
    documented protocol-exact.md ReadKey
check looks_a_key_up_as_documented ok '"currentVersion":"1"' documented protocol-exact.md GetLatest

check subscribes ok '"deadLetterTopic":"email.dlq"' \
    call -d '{"name":"email","topic":"orders","start":{"end":{}},"config":{"attempts_max":1}}' \
    "$address" towpath.v1.SubscriptionService/CreateSubscription
check publishes_for_it ok '"partition":2' \
    call -d '{"topic":"orders","partition":2,"records":[{"key":"NDI=","value":"aGk="}]}' \
    "$address" towpath.v1.ProduceService/Publish
pulled=$(call -d '{"subscription":"email","wait_ms":10000}' "$address" towpath.v1.SubscriptionService/Pull)
check pulls_a_record ok '"value":"aGk="' printf '%s' "$pulled"
delivery=$(sed -n 's/.*"delivery": "\([0-9]*\)".*/\1/p' <<<"$pulled")
check lists_who_has_it ok '"offset":"1","state":"RECORD_STATE_IN_FLIGHT","attempt":1' \
    call -d '{"subscription":"email"}' "$address" towpath.v1.SubscriptionService/ListPending
check says_that_it_failed ok '"results":[{"expired":[]}]' \
    call -d '{"subscription":"email","settlements":[{"delivery":"'"$delivery"'","partition":2,
        "ranges":[{"start":"1","end":"2"}],"nack":{"reason":"no account"}}]}' \
    "$address" towpath.v1.SubscriptionService/Settle
dead_letters() {
    local listed
    until listed=$(call -d '{"subscription":"email","value_bytes_max":10}' "$address" \
        towpath.v1.DeadLetterService/ListDeadLetters) && [[ $listed == *no\ account* ]]; do :; done
    printf '%s' "$listed"
}
check lists_dead_letters ok '"originTopic":"orders","originOffset":"1"' timeout 20 bash -c \
    "$(declare -f call dead_letters); address=$address; dead_letters"
check explains_where_it_is ok '"deadLetterTopic":"email.dlq","deadLetterOffset":"0"' \
    call -d '{"subscription":"email","partition":2,"offset":"1"}' \
    "$address" towpath.v1.SubscriptionService/ExplainRecord
check refuses_a_filter_that_is_none fails '"reason":"INVALID_FILTER"' \
    call -d '{"name":"x","topic":"orders","start":{"end":{}},"config":{"filter":"nokey == 1"}}' \
    "$address" towpath.v1.SubscriptionService/CreateSubscription
check redrives_them ok '"redrivenCount":"1","passedCount":"0","resumeToken":"","isDone":true' \
    call -d '{"subscription":"email"}' "$address" towpath.v1.DeadLetterService/RedriveDeadLetters
check pulls_it_again ok '"isDeadLetter":true' \
    call -d '{"subscription":"email","wait_ms":10000}' "$address" towpath.v1.SubscriptionService/Pull

check works_from_the_files_alone ok '"recordCount":"1"' \
    call_by_files -d '{"name":"orders"}' "$address" towpath.v1.TopicService/GetTopic

report

#!/usr/bin/env bash
# The contract under buf's lint, by the rules in proto/buf.yaml.
source ./lib.sh

version=1.75.0
tools=$INTEROP_TARGET/buf-$version
buf=$tools/node_modules/.bin/buf
if [[ ! -x $buf ]]; then
    printf 'installing buf %s\n' "$version"
    npm install --silent --no-audit --no-fund --prefix "$tools" "@bufbuild/buf@$version"
fi

# A lint that looks at nothing finds nothing.
planted=$(mktemp -d "$INTEROP_TARGET/planted.XXXXXX")
trap 'rm -rf "$planted"' EXIT
cp -r "$INTEROP_ROOT"/proto/{buf.yaml,towpath} "$planted"
sed -i 's/uint32 partition_count/uint32 partitionCount/' "$planted/towpath/v1/topic_service.proto"

check finds_a_planted_fault fails 'shouldbelower_snake_case' "$buf" lint "$planted"
check finds_nothing_else ok '' "$buf" lint "$INTEROP_ROOT/proto"
check builds ok '' "$buf" build "$INTEROP_ROOT/proto" -o /dev/null

report

# What the parts written for the shell share; to be sourced.
# shellcheck shell=bash
set -euo pipefail

passed=0
failed=0

# Runs a command and looks for a fixed text in what it prints, blanks and line breaks left out.
#   check NAME ok|fails TEXT COMMAND...
check() {
    local name=$1 expected=$2 text=$3 output outcome=ok
    output=$("${@:4}" 2>&1 </dev/null) || outcome=fails
    if [[ $outcome == "$expected" && $(tr -d ' \t\n' <<<"$output") == *"$text"* ]]; then
        printf 'ok %s\n' "$name"
        passed=$((passed + 1))
    else
        printf 'FAILED %s: %s %s, expected %s and %s\n%s\n' \
            "$name" "${*:4}" "$outcome" "$expected" "$text" "$output"
        failed=$((failed + 1))
    fi
}

# Tells the counts to `run`.
report() {
    printf '%d %d\n' "$passed" "$failed" >"$INTEROP_COUNTS"
    ((failed == 0))
}

# Starts a broker on a new folder below the target folder and sets `address`. It ends with the script.
start_broker() {
    local folder waited=0
    folder=$(mktemp -d "$INTEROP_TARGET/broker.XXXXXX")
    : >"$folder/out"
    "$TOWPATH_BIN" serve --listen 127.0.0.1:0 --data-dir "$folder/data" >"$folder/out" 2>"$folder/err" &
    local broker=$!
    disown "$broker"
    # shellcheck disable=SC2064 # Both are known now.
    trap "kill -KILL $broker 2>/dev/null || true; rm -rf '$folder'" EXIT
    # shellcheck disable=SC2034 # It is the part that uses it.
    until address=$(grep -m 1 -oE '127\.0\.0\.1:[0-9]+' "$folder/out"); do
        waited=$((waited + 1))
        if ((waited > 100)) || ! kill -0 "$broker" 2>/dev/null; then
            printf 'no broker:\n%s\n' "$(cat "$folder/err")"
            exit 1
        fi
        sleep 0.1
    done
}

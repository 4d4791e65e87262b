#!/bin/sh
# Turns the outcome that pgtide writes to a program's standard input into a short text, and hands that to
# the command in its arguments: a mailer, or a script that posts to a chat. Needs jq or python3.
#
#   notify_on_failure = ["/srv/etl/notify.sh", "mail", "-s", "pgtide", "data@example.org"]
#   notify_on_failure = ["/srv/etl/notify.sh", "/srv/etl/post-to-chat.sh"]
#
# To post to a chat that takes a webhook, the second script is one line:
#
#   curl --silent --show-error --fail --data-binary @- "$CHAT_WEBHOOK_URL"
set -eu

outcome=$(cat)

with_jq() {
    jq -r '"pgtide: \(.job) \(.state) on \(.host), \(.loaded | length) loaded, \(.failed | length) failed",
        (.failed[] | "\(.interval): \(.error)"),
        (if .error then .error.error else empty end),
        (.retry_command // empty)'
}

with_python() {
    python3 -c '
import json, sys
run = json.load(sys.stdin)
print("pgtide: %s %s on %s, %d loaded, %d failed" % (
    run["job"], run["state"], run["host"], len(run["loaded"]), len(run["failed"])))
for failed in run["failed"]:
    print("%s: %s" % (failed["interval"], failed["error"]))
if run["error"]:
    print(run["error"]["error"])
if run["retry_command"]:
    print(run["retry_command"])'
}

if command -v jq > /dev/null; then render=with_jq; else render=with_python; fi
text=$(printf '%s\n' "$outcome" | "$render")
printf '%s\n' "$text" | "$@"

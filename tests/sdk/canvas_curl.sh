#!/bin/sh
# The calls of the canvas application, made with curl as its deployments make them: chat, canvases, and jobs from their
# submission to their results. TIDEGATE_URL is the gateway's address.
set -eu

json='Content-Type: application/json'

# ask STATUS TEXT ARGUMENT..: calls curl with the arguments. The answer, which stays in $body, must have the status and the text.
ask() {
    wanted=$1 text=$2
    shift 2
    answer=$(curl -sS -w '\n%{http_code}' "$@")
    status=$(printf '%s\n' "$answer" | tail -n 1)
    body=$(printf '%s\n' "$answer" | sed '$d')
    case "$status $body" in
    "$wanted "*"$text"*) ;;
    *)
        echo "curl $*: $status instead of $wanted, or without $text: $body" >&2
        exit 1
        ;;
    esac
}

# The first value of a field in $body that is a text.
field() {
    printf '%s\n' "$body" | sed "s/.*\"$1\":\"\([^\"]*\)\".*/\1/"
}

# result PATH TEXT: waits for a job's result as a client does that heeds Retry-After.
result() {
    body=$(curl -sS --fail --retry 60 --retry-all-errors "$TIDEGATE_URL$1/result")
    case "$body" in
    '{"success":true,"data":{"content":'*"$2"*'"totalTokens":'*'"cached":'*) ;;
    *)
        echo "the result of $1 is without $2: $body" >&2
        exit 1
        ;;
    esac
}

ask 200 '"success":true,"data":{"content":' "$TIDEGATE_URL/api/llm/chat" -H "$json" \
    -d '{"prompt":"A slogan for a bakery","model":"meta-llama/Llama-3-70b-chat-hf","maxTokens":100,"temperature":0.7}'
ask 400 '"success":false' "$TIDEGATE_URL/api/llm/chat" -H "$json" -d '{"prompt":"","model":"m"}'
ask 200 '"togetherAI":{"state":"closed"' "$TIDEGATE_URL/api/llm/stats"
ask 200 '"data":{"canvasId":"' "$TIDEGATE_URL/api/canvas/generate" -H "$json" \
    -d '{"businessDescription":"A bakery that delivers by bicycle","industry":"Food","targetMarket":"Offices"}'

# One job, to its end.
ask 202 '","status":"queued","statusUrl":"/api/queue/llm/' -X POST "$TIDEGATE_URL/api/queue/llm" -H "$json" \
    -d '{"type":"custom_prompt","prompt":"A slogan for a bakery","model":"meta-llama/Llama-3-70b-chat-hf","maxTokens":100,"temperature":0.7,"metadata":{"order":7}}'
job=$(field statusUrl)
ask 200 '"data":{"jobId":"' "$TIDEGATE_URL$job"
result "$job" '"provider":"together_ai"'
ask 200 '"status":"completed","progress":100,"result":{"content":' "$TIDEGATE_URL$job"
ask 200 '"metadata":{"order":7}' "$TIDEGATE_URL$job"
ask 409 '"code":"job_over"' -X DELETE "$TIDEGATE_URL$job"

# A canvas of a prompt of the configuration.
ask 202 '"status":"queued"' -X POST "$TIDEGATE_URL/api/queue/llm" -H "$json" \
    -d '{"type":"canvas_generation","promptKey":"canvas.generate","promptVariables":{"businessDescription":"A bakery"}}'
result "$(field statusUrl)" '{"keyPartners":['

# The same key: the same job.
ask 202 '"status":"delayed"' -X POST "$TIDEGATE_URL/api/queue/llm" -H "$json" -H 'Idempotency-Key: order-7' \
    -d '{"type":"custom_prompt","prompt":"A slogan","delay":600000,"priority":"low"}'
job=$(field statusUrl)
ask 200 "$job" -X POST "$TIDEGATE_URL/api/queue/llm" -H "$json" -H 'Idempotency-Key: order-7' \
    -d '{"type":"custom_prompt","prompt":"A slogan","delay":600000,"priority":"low"}'
ask 422 '"code":"idempotency_key_reused"' -X POST "$TIDEGATE_URL/api/queue/llm" -H "$json" -H 'Idempotency-Key: order-7' \
    -d '{"type":"custom_prompt","prompt":"Another slogan"}'
ask 409 '"code":"job_not_over"' "$TIDEGATE_URL$job/result"
ask 200 '{"success":true,"message":"Job cancelled"}' -X DELETE "$TIDEGATE_URL$job"
ask 200 '"status":"failed"' "$TIDEGATE_URL$job"

# A batch.
ask 202 '","status":"queued"},{"jobId":"' -X POST "$TIDEGATE_URL/api/queue/llm/batch" -H "$json" \
    -d '{"jobs":[{"type":"custom_prompt","prompt":"One"},{"type":"canvas_refinement","promptKey":"canvas.refine","promptVariables":{"instruction":"Add tea","canvas":{"channels":["Shop"]}}}]}'
ask 400 'jobs[1].promptKey' -X POST "$TIDEGATE_URL/api/queue/llm/batch" -H "$json" \
    -d '{"jobs":[{"type":"custom_prompt","prompt":"One"},{"type":"custom_prompt","promptKey":"canvas.generat"}]}'

ask 200 '"data":{"waiting":' "$TIDEGATE_URL/api/queue/metrics"
ask 404 '"code":"unknown_job"' "$TIDEGATE_URL/api/queue/llm/00000000-0000-8000-8000-000000000000"

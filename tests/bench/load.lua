-- The same request for every server: a small JSON body, and a token that bare Starlette does not look at.
wrk.method = "POST"
wrk.body = '{"name": "Ada", "tags": ["a", "b"]}'
wrk.headers["Content-Type"] = "application/json"
wrk.headers["Authorization"] = "Bearer " .. os.getenv("BENCH_TOKEN")

done = function(summary, latency, requests)
  local errors = summary.errors
  local failed = errors.connect + errors.read + errors.write + errors.status + errors.timeout
  print(string.format("RESULT %.1f %d", summary.requests / summary.duration * 1000000, failed))
end

#!/usr/bin/env bash
# Locust 2.47.0: the median of three replies of 1,234 ms is 1,200 ms, and so is every percentile.
#
# Guess:  1,234, or a neighbouring bucket of a fine histogram (0.1 %).
# Seen:   times are kept rounded to two significant digits, all above 100 ms by up to 5 %; the mean and the maximum are
#         exact. Output of 2026-11-27, Python 3.11:
#             3 times 1234 ms: median 1200, p99 1200, mean 1234, max 1234
#             100 ms to 109 ms: medians 100 100 100 100 100 100 110 110 110 110
# Matters: two servers whose median TTFT is 1,151 and 1,249 ms look alike, and a p99 lies below the mean.
set -euo pipefail
tmp=$(mktemp -d); trap 'kill $(jobs -p) 2>/dev/null || true; rm -rf "$tmp"' EXIT
. "$(dirname "$0")/setup"
install venv locust==2.47.0

seen=$("$tmp/venv/bin/python" - 2>/dev/null <<'PY'
from locust.stats import RequestStats

def of(*times):
    stats = RequestStats()
    for ms in times:
        stats.log_request("POST", "/v1/completions", ms, 1)
    return stats.get("/v1/completions", "POST")

alike = of(1234, 1234, 1234)
p99 = alike.get_response_time_percentile(0.99)
mean, most = alike.avg_response_time, alike.max_response_time
print(f"3 times 1234 ms: median {alike.get_response_time_percentile(0.5)}, p99 {p99}, mean {mean:.0f}, max {most}")
print("100 ms to 109 ms: medians", *(of(ms).get_response_time_percentile(0.5) for ms in range(100, 110)))
PY
)
holds "$seen" "3 times 1234 ms: median 1200, p99 1200, mean 1234, max 1234
100 ms to 109 ms: medians 100 100 100 100 100 100 110 110 110 110"

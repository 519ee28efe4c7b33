// Package observe has what an operator sees of the real binary at work: its metrics in a real Prometheus, the dashboard
// and the alerts of examples/monitoring, its logs and its traces. It has tests alone.
package observe

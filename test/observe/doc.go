// Package observe has what an operator sees of the real binary at work: its metrics in a real Prometheus, the dashboard
// and the alerts of examples/monitoring, and its logs. It has tests alone.
package observe

// Package audit shows that the audit has everything: real requests through the gateway while a real Prefect is
// killed and comes back and the plugin process is killed too, then the record held against what Prefect has.
package audit

// Package keycloak runs what docker-compose.yml puts together, without Docker:
// a real Keycloak with the shipped realm, the shipped kong.yml, a real Prefect
// with its worker, and the real binary. It shows that the preset keycloak reads
// what Keycloak writes.
//
// It is skipped, loudly, where there is no Keycloak: `make e2e-keycloak`
// fetches one. It has tests alone; read TestMain first.
package keycloak

// Package stack starts the real parts that the end-to-end tests and the demo stand on: a Prefect server with a
// process worker and the example flows, an OpenID provider, and the gateway (Kong, or devgateway where no Kong is at
// hand) with the plugins' own binary.
//
// It refuses to fake: nothing here answers in Prefect's or the provider's place. It refuses to leave anything behind:
// every part listens on 127.0.0.1 and a free port, lives in a temporary folder and in a process group of its own, and
// ends with Stop or with the process that started it. It builds nothing: the caller names the binaries.
//
// Read [Start] first, then [StartGateway].
package stack

// Package plugin is Kong's edge: the three plugins' configuration and schema,
// what they read from Kong once, and what they write to it once. Between the
// two everything is plain values, passed through the stages in their order:
// token, claims, policy, stamp, prefectclient.
//
// It refuses whatever a stage refuses, in one form ([Problem]), and it never
// lets a request through because something could not be decided.
//
// Read identity.go and trigger.go first: each is one plugin's whole way.
package plugin

// Package tree holds the shape of the repository: who may import whom, and
// what every package owes its reader. It has tests alone.
package tree

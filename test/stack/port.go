package stack

import (
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
)

// Ports are taken below the kernel's ephemeral range (32768 and up on Linux): a program that needs ten seconds to
// bind must not find its port used as the source port of somebody's outgoing connection.
const (
	portMin = 15000
	portMax = 32000
)

var (
	portsMu    sync.Mutex
	portsTaken = map[int]bool{} // handed out by this process, never twice
)

// freePort is a port of 127.0.0.1 that nobody listens on.
func freePort() (int, error) {
	portsMu.Lock()
	defer portsMu.Unlock()
	for range 1000 {
		port := portMin + rand.IntN(portMax-portMin)
		if portsTaken[port] {
			continue
		}
		l, err := net.Listen("tcp4", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			continue
		}
		portsTaken[port] = true
		return port, l.Close()
	}
	return 0, fmt.Errorf("no free port between %d and %d", portMin, portMax)
}

// FreeAddr is a free port of 127.0.0.1, with its host.
func FreeAddr() (string, error) { return freeAddr() }

func freeAddr() (string, error) {
	port, err := freePort()
	return fmt.Sprintf("127.0.0.1:%d", port), err
}

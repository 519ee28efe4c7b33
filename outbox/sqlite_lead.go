package outbox

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"os"
	"syscall"
	"time"
)

// leadRetryEvery is how often a process looks whether the lead is free.
const leadRetryEvery = 500 * time.Millisecond

// Lead holds a lock that the kernel lets go when its holder dies.
func (s *SQLite) Lead(ctx context.Context, server string) (leading context.Context, release func(), err error) {
	file, err := os.OpenFile(s.path+".lead-"+short(server), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, nil, err
	}
	tick := time.NewTicker(leadRetryEvery)
	defer tick.Stop()
	for {
		err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			leading, cancel := context.WithCancel(ctx)
			return leading, func() { cancel(); _ = file.Close() }, nil
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) && !errors.Is(err, syscall.EINTR) {
			return nil, nil, errors.Join(err, file.Close())
		}
		select {
		case <-ctx.Done():
			return nil, nil, errors.Join(ctx.Err(), file.Close())
		case <-tick.C:
		}
	}
}

// short names a server in a file's name or a key.
func short(server string) string {
	sum := sha256.Sum256([]byte(server))
	return hex.EncodeToString(sum[:8])
}

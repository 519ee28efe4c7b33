package audit_test

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/require"

	"github.com/kong-prefect/kong-prefect/audit"
	"github.com/kong-prefect/kong-prefect/claims"
)

// keys sign and check as the gateway's do.
type keys struct {
	private ed25519.PrivateKey
}

func newKeys(t testing.TB) keys {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	return keys{private}
}

func (k keys) Sign(c jwt.Claims, typ string) (string, error) {
	token := jwt.NewWithClaims(jwt.SigningMethodEdDSA, c)
	token.Header["typ"] = typ
	return token.SignedString(k.private)
}

func (k keys) Verify(compact, typ string, c jwt.Claims, options ...jwt.ParserOption) error {
	token, err := jwt.ParseWithClaims(compact, c, func(*jwt.Token) (any, error) {
		return k.private.Public(), nil
	}, append(options, jwt.WithValidMethods([]string{"EdDSA"}))...)
	if err == nil && token.Header["typ"] != typ {
		err = fmt.Errorf("typ is %v", token.Header["typ"])
	}
	return err
}

func open(t testing.TB, o audit.Options) *audit.Log {
	t.Helper()
	log, err := audit.Open(o)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, log.Close()) })
	return log
}

func event(i int) audit.Event {
	return audit.Event{
		Type: audit.AccessAllowed, RequestID: fmt.Sprintf("request-%d", i), Deployment: "flow/deployment",
		Caller: audit.CallerOf(claims.Identity{Subject: "42", Issuer: "https://idp.example", Kind: claims.Service, Client: "svc-nightly"}),
		Rule:   "allow_roles", Parameters: map[string]any{"n": i},
	}
}

func verify(t testing.TB, dir string, k keys) audit.Report {
	t.Helper()
	report, err := audit.Verify(dir, audit.VerifyOptions{Keys: k})
	require.NoError(t, err)
	return report
}

func records(t testing.TB, dir string) []audit.Record {
	t.Helper()
	var all []audit.Record
	require.NoError(t, audit.Records(dir, 0, func(r audit.Record) bool {
		all = append(all, r)
		return true
	}))
	return all
}

func TestRecordsComeBack(t *testing.T) {
	t.Parallel()
	for _, durable := range []bool{true, false} {
		dir, k := t.TempDir(), newKeys(t)
		log := open(t, audit.Options{Dir: dir, Signer: k, Node: "kong-1"})
		for i := range 10 {
			require.NoError(t, log.Append(t.Context(), event(i), durable))
		}
		require.NoError(t, log.Close())

		all := records(t, dir)
		require.Len(t, all, 14)
		require.Equal(t, audit.ProcessStarted, all[0].Type)
		require.Equal(t, audit.ProcessStopped, all[12].Type)
		require.Equal(t, audit.Checkpoint, all[13].Type)
		got := all[5]
		require.Equal(t, uint64(6), got.Seq)
		require.Equal(t, audit.SchemaVersion, got.Version)
		require.Equal(t, "request-3", got.RequestID)
		require.Equal(t, "kong-1", got.Node)
		require.Equal(t, "svc-nightly", got.Caller.Name)
		require.WithinDuration(t, time.Now(), got.Time, time.Minute)

		report := verify(t, dir, k)
		require.Empty(t, report.Defects)
		require.Equal(t, uint64(14), report.Records)
		require.Equal(t, uint64(13), report.Signed)
		require.ErrorIs(t, log.Append(t.Context(), event(11), durable), audit.ErrClosed)
	}
}

func TestOneChainOverFilesAndLives(t *testing.T) {
	t.Parallel()
	dir, k := t.TempDir(), newKeys(t)
	for range 5 {
		log := open(t, audit.Options{Dir: dir, Signer: k, MaxFileBytes: 4 << 10})
		for i := range 20 {
			require.NoError(t, log.Append(t.Context(), event(i), true))
		}
		require.NoError(t, log.Close())
	}
	report := verify(t, dir, k)
	require.Empty(t, report.Defects)
	require.Greater(t, report.Files, 5)
	require.Len(t, records(t, dir), int(report.Last))

	var after []uint64
	require.NoError(t, audit.Records(dir, 77, func(r audit.Record) bool {
		after = append(after, r.Seq)
		return len(after) < 3
	}))
	require.Equal(t, []uint64{78, 79, 80}, after)
}

// While it is read the current file may be sealed and the next begun: nobody who reads on from a record may miss what
// was in between, and nobody who verifies may be told of a gap.
func TestReadersMissNothingWhileFilesAreSealed(t *testing.T) {
	t.Parallel()
	dir, k := t.TempDir(), newKeys(t)
	log := open(t, audit.Options{Dir: dir, Signer: k, MaxFileBytes: 1 << 10})
	written := make(chan error, 1)
	go func() {
		var err error
		for i := 0; i < 300 && err == nil; i++ {
			err = log.Append(context.Background(), event(i), true)
		}
		written <- err
	}()
	last := uint64(0)
	for writing := true; writing; {
		select {
		case err := <-written:
			require.NoError(t, err)
			writing = false
		default:
		}
		require.NoError(t, audit.Records(dir, last, func(r audit.Record) bool {
			require.Equal(t, last+1, r.Seq)
			last = r.Seq
			return true
		}))
		require.Empty(t, verify(t, dir, k).Defects)
	}
	require.GreaterOrEqual(t, last, uint64(301))
}

// While Kong reloads, two processes write for some seconds.
func TestSeveralWritersMakeOneChain(t *testing.T) {
	t.Parallel()
	dir, k := t.TempDir(), newKeys(t)
	const logs, writers, each = 3, 4, 25
	var wg sync.WaitGroup
	for range logs {
		log := open(t, audit.Options{Dir: dir, Signer: k, MaxFileBytes: 16 << 10, CheckpointRecords: 10})
		for range writers {
			wg.Go(func() {
				for i := range each {
					if err := log.Append(t.Context(), event(i), i%2 == 0); err != nil {
						t.Errorf("append: %v", err)
					}
				}
			})
		}
		defer log.Close()
	}
	wg.Wait()
	require.Eventually(t, func() bool {
		n := 0
		for _, r := range records(t, dir) {
			if r.Type == audit.AccessAllowed {
				n++
			}
		}
		return n == logs*writers*each
	}, 10*time.Second, 10*time.Millisecond)
	require.Empty(t, verify(t, dir, k).Defects)
}

func TestTornRecordIsToldOf(t *testing.T) {
	t.Parallel()
	dir, k := t.TempDir(), newKeys(t)
	log := open(t, audit.Options{Dir: dir, Signer: k})
	require.NoError(t, log.Append(t.Context(), event(1), true))
	require.NoError(t, log.Close())
	current, err := os.OpenFile(filepath.Join(dir, "current.jsonl"), os.O_APPEND|os.O_WRONLY, 0)
	require.NoError(t, err)
	_, err = current.WriteString(`{"seq":6,"prev":"12`)
	require.NoError(t, err)
	require.NoError(t, current.Close())

	report := verify(t, dir, k)
	require.Zero(t, report.Unsigned())
	require.Empty(t, report.Defects, "a killed process is no defect")
	require.Equal(t, 19, report.TornBytes)
	require.Equal(t, uint64(5), report.Last)

	log = open(t, audit.Options{Dir: dir, Signer: k})
	require.NoError(t, log.Close())
	report = verify(t, dir, k)
	require.Empty(t, report.Defects)
	require.Zero(t, report.TornBytes)
	require.Equal(t, 1, report.Recovered)
	require.Contains(t, records(t, dir)[5].Detail, "an incomplete record of 19 bytes")
}

func TestTooLongIsRefused(t *testing.T) {
	t.Parallel()
	log := open(t, audit.Options{Dir: t.TempDir(), Signer: newKeys(t)})
	e := event(1)
	e.Detail = strings.Repeat("x", 64<<10)
	require.ErrorIs(t, log.Append(t.Context(), e, true), audit.ErrTooLong)
}

func TestDamagedEndIsRefused(t *testing.T) {
	t.Parallel()
	for name, damage := range map[string][]byte{"no record": []byte("not a record\n"), "endless": make([]byte, 200<<10)} {
		dir := t.TempDir()
		require.NoError(t, os.WriteFile(filepath.Join(dir, "current.jsonl"), damage, 0o600))
		_, err := audit.Open(audit.Options{Dir: dir, Signer: newKeys(t)})
		require.ErrorContains(t, err, "can't be read", name)
		require.ErrorContains(t, err, "kong-prefect audit verify", name)
	}
}

// Who is in many groups, or sends a long parameter that the route wants in clear, isn't refused for it.
func TestLongNamesAndParametersFitIntoARecord(t *testing.T) {
	t.Parallel()
	id := claims.Identity{Subject: "1", Issuer: "https://idp.example"}
	for range 200 {
		id.Groups = append(id.Groups, "CN="+strings.Repeat("x", 500))
	}
	require.Nil(t, audit.BasisOf(id, ""))
	require.NotNil(t, audit.BasisOf(claims.Identity{Subject: "1", Groups: id.Groups[:5]}, ""))
	e := event(1)
	e.Basis, e.Parameters = audit.BasisOf(id, ""), nil
	e.InClear([]string{"short", "absent", "long"}, map[string]any{"short": "s", "long": strings.Repeat("<", 100<<10), "secret": "s"})
	require.Equal(t, map[string]any{"short": "s"}, e.Parameters)
	require.Contains(t, e.Detail, `"long" is too long`)
	require.NoError(t, open(t, audit.Options{Dir: t.TempDir(), Signer: newKeys(t)}).Append(t.Context(), e, true))
}

// What no checkpoint covers yet is counted, for whoever reads "nothing is missing".
func TestVerifyCountsWhatIsNotSignedYet(t *testing.T) {
	t.Parallel()
	dir, k := t.TempDir(), newKeys(t)
	log := open(t, audit.Options{Dir: dir, Signer: k})
	for i := range 3 {
		require.NoError(t, log.Append(t.Context(), event(i), true))
	}
	require.Equal(t, uint64(3), verify(t, dir, k).Unsigned())
	evidence, err := audit.Collect(dir, time.Time{}, time.Time{}, verify(t, dir, k))
	require.NoError(t, err)
	var page strings.Builder
	require.NoError(t, evidence.WriteHTML(&page))
	require.Contains(t, page.String(), "the last over record 1; the 3 behind it are chained, and not signed yet.")
	require.NoError(t, log.Close())
	require.Zero(t, verify(t, dir, k).Unsigned())
}

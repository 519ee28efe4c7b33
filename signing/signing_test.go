package signing

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/require"
)

const typ = "test+jwt"

// clock is set by hand.
type clock struct{ now time.Time }

func (c *clock) Now() time.Time { return c.now }

func newClock() *clock { return &clock{time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)} }

func open(t *testing.T, path string, c *clock, change ...func(*Options)) *Keys {
	t.Helper()
	o := Options{File: path, Now: c.Now, CheckInterval: time.Nanosecond}
	for _, f := range change {
		f(&o)
	}
	k, err := Open(o)
	require.NoError(t, err)
	return k
}

func sign(t *testing.T, k *Keys, c *clock) string {
	t.Helper()
	compact, err := k.Sign(jwt.MapClaims{"sub": "alice", "exp": c.now.Add(time.Hour).Unix()}, typ)
	require.NoError(t, err)
	return compact
}

func verify(k *Keys, compact string, c *clock) error {
	return k.Verify(compact, typ, jwt.MapClaims{}, jwt.WithTimeFunc(c.Now))
}

func kids(t *testing.T, jwks []byte) (ids []string) {
	t.Helper()
	var set struct{ Keys []map[string]any }
	require.NoError(t, json.Unmarshal(jwks, &set))
	for _, k := range set.Keys {
		require.NotContains(t, k, "d")
		require.Equal(t, "OKP", k["kty"])
		require.Equal(t, "Ed25519", k["crv"])
		require.Equal(t, "EdDSA", k["alg"])
		require.Equal(t, "sig", k["use"])
		ids = append(ids, k["kid"].(string))
	}
	return ids
}

func kidOf(t *testing.T, compact string) string {
	t.Helper()
	head, err := base64.RawURLEncoding.DecodeString(strings.Split(compact, ".")[0])
	require.NoError(t, err)
	var h map[string]string
	require.NoError(t, json.Unmarshal(head, &h))
	require.Equal(t, "EdDSA", h["alg"])
	return h["kid"]
}

func TestFleetingKeysSignAndAreInNoFile(t *testing.T) {
	t.Parallel()
	k, err := Fleeting()
	require.NoError(t, err)
	compact, err := k.Sign(jwt.RegisteredClaims{Subject: "s", ExpiresAt: jwt.NewNumericDate(time.Now().Add(time.Hour))}, "test+jwt")
	require.NoError(t, err)
	require.NoError(t, k.Verify(compact, "test+jwt", &jwt.RegisteredClaims{}))
	other, err := Fleeting()
	require.NoError(t, err)
	require.Error(t, other.Verify(compact, "test+jwt", &jwt.RegisteredClaims{}))
}

func TestTheFileIsMadeOnceForItsOwnerAlone(t *testing.T) {
	t.Parallel()
	c, path := newClock(), filepath.Join(t.TempDir(), "keys.json")
	const processes = 16
	made := make([]string, processes)
	var wait sync.WaitGroup
	for i := range processes {
		wait.Go(func() {
			if k, err := Open(Options{File: path, Now: c.Now}); err == nil {
				made[i] = k.kid
			}
		})
	}
	wait.Wait()
	for _, kid := range made {
		require.NotEmpty(t, kid)
		require.Equal(t, made[0], kid, "whoever comes first makes the key of all")
	}
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	left, err := os.ReadDir(filepath.Dir(path))
	require.NoError(t, err)
	require.Len(t, left, 2, "the file and its lock")

	again := open(t, path, c)
	require.NoError(t, verify(again, sign(t, again, c), c))
	require.Equal(t, made[:1], kids(t, again.JWKS()))
}

func TestWhatIsRefused(t *testing.T) {
	t.Parallel()
	c := newClock()
	k := open(t, filepath.Join(t.TempDir(), "keys.json"), c)
	stranger := open(t, filepath.Join(t.TempDir(), "keys.json"), c)
	good := sign(t, k, c)
	parts := strings.Split(good, ".")
	forge := func(header map[string]any, key any, method jwt.SigningMethod) string {
		token := jwt.NewWithClaims(method, jwt.MapClaims{"exp": c.now.Add(time.Hour).Unix()})
		token.Header = map[string]any{"alg": method.Alg(), "kid": k.kid, "typ": typ}
		maps.Copy(token.Header, header)
		compact, err := token.SignedString(key)
		require.NoError(t, err)
		return compact
	}
	noExpiry, err := k.Sign(jwt.MapClaims{"sub": "alice"}, typ)
	require.NoError(t, err)
	otherType, err := k.Sign(jwt.MapClaims{"exp": c.now.Add(time.Hour).Unix()}, "other+jwt")
	require.NoError(t, err)
	payload := base64.RawURLEncoding.EncodeToString([]byte(`{"sub":"root","exp":99999999999}`))
	for name, bad := range map[string]struct {
		compact string
		want    error
	}{
		"a stranger's key":           {sign(t, stranger, c), ErrUnknownKey},
		"a stranger under our kid":   {forge(nil, stranger.private, jwt.SigningMethodEdDSA), ErrSignature},
		"other claims":               {parts[0] + "." + payload + "." + parts[2], ErrSignature},
		"no signature":               {parts[0] + "." + parts[1] + ".", ErrSignature},
		"alg none":                   {forge(nil, jwt.UnsafeAllowNoneSignatureType, jwt.SigningMethodNone), ErrSignature},
		"the public key as a secret": {forge(nil, []byte(k.private.Public().(ed25519.PublicKey)), jwt.SigningMethodHS256), ErrSignature},
		"another type":               {otherType, ErrType},
		"no type":                    {forge(map[string]any{"typ": nil}, k.private, jwt.SigningMethodEdDSA), ErrType},
		"crit":                       {forge(map[string]any{"crit": []string{"x"}}, k.private, jwt.SigningMethodEdDSA), ErrMalformed},
		"a kid that is no string":    {forge(map[string]any{"kid": 1}, k.private, jwt.SigningMethodEdDSA), ErrMalformed},
		"no expiry":                  {noExpiry, jwt.ErrTokenRequiredClaimMissing},
		"trailing bits":              {good[:len(good)-1] + string(good[len(good)-1]+1), ErrMalformed},
		"a newline":                  {good + "\n", ErrMalformed},
		"dots":                       {strings.Repeat(".", 1<<20), ErrMalformed},
		"nothing":                    {"", ErrMalformed},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			require.ErrorIs(t, verify(k, bad.compact, c), bad.want)
		})
	}
	require.NoError(t, verify(k, good, c))
	late := &clock{c.now.Add(2 * time.Hour)}
	require.ErrorIs(t, verify(k, good, late), jwt.ErrTokenExpired)
	_, err = k.Sign(jwt.MapClaims{}, "")
	require.Error(t, err)
}

// One process writes, the other follows; what was signed before stays good.
func TestRotationOverlaps(t *testing.T) {
	t.Parallel()
	c, path := newClock(), filepath.Join(t.TempDir(), "keys.json")
	day := 24 * time.Hour
	rotate := func(o *Options) { o.RotateEvery, o.Keep = 30*day, 60*day }
	one, two := open(t, path, c, rotate), open(t, path, c, rotate)
	start := c.now
	first := sign(t, one, c)
	verifies := func(compact string) error {
		return one.Verify(compact, typ, jwt.MapClaims{}, jwt.WithTimeFunc(func() time.Time { return start }))
	}

	c.now = start.Add(30 * day)
	published := kids(t, two.JWKS())
	require.Len(t, published, 2)
	require.Equal(t, published, kids(t, one.JWKS()), "both find the same new key")
	require.Equal(t, kidOf(t, first), kidOf(t, sign(t, one, c)), "published first, used later")

	c.now = c.now.Add(PublishLead)
	second := sign(t, one, c)
	require.Equal(t, published[0], kidOf(t, second))
	require.NoError(t, verify(two, second, c))
	require.NoError(t, verifies(first))
	require.Contains(t, content(t, path), `"d"`)

	c.now = c.now.Add(PublishLead + time.Second)
	require.Equal(t, published, kids(t, one.JWKS()))
	require.Equal(t, 1, strings.Count(content(t, path), `"d"`), "a key that signs no more has lost its private half")

	c.now = c.now.Add(60 * day)
	require.NotContains(t, kids(t, one.JWKS()), published[1])
	require.ErrorIs(t, verifies(first), ErrUnknownKey)
	require.NoError(t, verifies(second))
}

func TestRotateByHand(t *testing.T) {
	t.Parallel()
	c, path := newClock(), filepath.Join(t.TempDir(), "keys.json")
	never := func(o *Options) { o.RotateEvery = -1 }
	k := open(t, path, c, never)
	c.now = c.now.Add(10 * 365 * 24 * time.Hour)
	require.Len(t, kids(t, k.JWKS()), 1)
	require.NoError(t, k.Rotate())
	require.Len(t, kids(t, k.JWKS()), 2)
	c.now = c.now.Add(PublishLead)
	require.Equal(t, kids(t, k.JWKS())[0], kidOf(t, sign(t, k, c)))
}

func TestNodesWithAKeyEach(t *testing.T) {
	t.Parallel()
	c, dir := newClock(), t.TempDir()
	one := open(t, filepath.Join(dir, "one.json"), c)
	peers := filepath.Join(dir, "one.jwks")
	require.NoError(t, os.WriteFile(peers, one.JWKS(), 0o644))
	two := open(t, filepath.Join(dir, "two.json"), c, func(o *Options) { o.Peers = []string{peers} })
	require.Equal(t, []string{two.kid, one.kid}, kids(t, two.JWKS()))
	require.NoError(t, verify(two, sign(t, one, c), c))
	require.ErrorIs(t, verify(one, sign(t, two, c), c), ErrUnknownKey)

	set, err := ParseKeySet(two.JWKS())
	require.NoError(t, err)
	require.True(t, set.Has(one.kid))
	require.Equal(t, two.JWKS(), set.JWKS())
}

func TestBadFilesAreRefusedAndLeftAlone(t *testing.T) {
	t.Parallel()
	c, dir := newClock(), t.TempDir()
	good := filepath.Join(dir, "good.json")
	open(t, good, c)
	whole := content(t, good)
	for name, bad := range map[string]struct {
		text string
		mode os.FileMode
	}{
		"empty":           {"", 0o600},
		"no JSON":         {"-----BEGIN PRIVATE KEY-----", 0o600},
		"no keys":         {`{"keys":[]}`, 0o600},
		"null":            {`{"keys":[null]}`, 0o600},
		"cut":             {whole[:len(whole)/2], 0o600},
		"another kid":     {strings.Replace(whole, `"kid": "`, `"kid": "x`, 1), 0o600},
		"read by others":  {whole, 0o604},
		"group may write": {whole, 0o660},
		"public only":     {strings.Replace(whole, `"d":`, `"e":`, 1), 0o600},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "keys.json")
			require.NoError(t, os.WriteFile(path, []byte(bad.text), 0o600))
			require.NoError(t, os.Chmod(path, bad.mode))
			_, err := Open(Options{File: path, Now: c.Now})
			require.ErrorIs(t, err, ErrKeyFile)
			require.NotContains(t, err.Error(), `"d"`)
			require.Equal(t, bad.text, content(t, path))
		})
	}
	_, err := Open(Options{})
	require.ErrorIs(t, err, ErrKeyFile)
	_, err = Open(Options{File: good, Now: c.Now, Peers: []string{good}})
	require.ErrorIs(t, err, ErrKeyFile, "a peer's private keys are none of ours")
}

// A file that breaks later doesn't stop a gateway.
// What is no file, and somebody who keeps the lock, must not hold up the requests that want a signature.
func TestNothingIsWaitedForWithoutALimit(t *testing.T) {
	t.Parallel()
	c := newClock()
	pipe := filepath.Join(t.TempDir(), "pipe")
	require.NoError(t, syscall.Mkfifo(pipe, 0o600))
	dir := t.TempDir()
	for name, o := range map[string]Options{
		"keys":        {File: pipe},
		"a peer":      {File: filepath.Join(dir, "a.json"), Peers: []string{pipe}},
		"a peer, too": {File: filepath.Join(dir, "b.json"), Peers: []string{dir}},
	} {
		_, err := Open(o)
		require.ErrorIs(t, err, ErrKeyFile, name)
	}

	good := filepath.Join(dir, "keys.json")
	var log bytes.Buffer
	k := open(t, good, c, func(o *Options) { o.Logger = slog.New(slog.NewTextHandler(&log, nil)) })
	lock, err := os.OpenFile(good+".lock", os.O_RDWR, 0)
	require.NoError(t, err)
	defer lock.Close()
	require.NoError(t, syscall.Flock(int(lock.Fd()), syscall.LOCK_EX))
	c.now = c.now.Add(91 * 24 * time.Hour) // a new key is due
	require.NoError(t, verify(k, sign(t, k, c), c))
	require.Contains(t, log.String(), "another process holds")
	require.ErrorContains(t, k.Rotate(), "another process holds")
	require.NoError(t, lock.Close())
	require.NoError(t, k.Rotate())
}

func TestABrokenFileIsReportedAndTheKeysStay(t *testing.T) {
	t.Parallel()
	c, path := newClock(), filepath.Join(t.TempDir(), "keys.json")
	var log bytes.Buffer
	k := open(t, path, c, func(o *Options) { o.Logger = slog.New(slog.NewTextHandler(&log, nil)) })
	first := sign(t, k, c)
	require.NoError(t, os.WriteFile(path, []byte("broken"), 0o600))
	c.now = c.now.Add(time.Minute)
	require.NoError(t, verify(k, first, c))
	require.Equal(t, kidOf(t, first), kidOf(t, sign(t, k, c)))
	require.Contains(t, log.String(), "can't be read again")
}

func content(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	return string(data)
}

func BenchmarkSign(b *testing.B) {
	k, err := Open(Options{File: filepath.Join(b.TempDir(), "keys.json")})
	require.NoError(b, err)
	claims := jwt.MapClaims{"sub": "alice", "exp": 99999999999}
	for b.Loop() {
		if _, err := k.Sign(claims, typ); err != nil {
			b.Fatal(err)
		}
	}
}

package signing

import "time"

// Stats is how the gateway's own keys stand.
type Stats struct {
	// Made is when the key was made that signs now.
	Made time.Time
	// RotationDue is when a new key takes over; zero: never by itself.
	RotationDue time.Time
	// Published is how many public keys are in the key set.
	Published int
	// Err is why the files can't be used at the last look; those of before
	// stay in use.
	Err error
}

// Stats tells how the keys stand now.
func (k *Keys) Stats() Stats {
	k.current()
	k.mu.Lock()
	defer k.mu.Unlock()
	s := Stats{Made: k.made, Published: len(k.public.keys), Err: k.err}
	if k.options.RotateEvery > 0 {
		// The new key is published first, and signs later.
		s.RotationDue = k.made.Add(k.options.RotateEvery + PublishLead)
	}
	return s
}

package pluginserver

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"testing"

	"github.com/stretchr/testify/require"
)

// FuzzFrameReader: whatever bytes arrive, in whatever pieces, the frames read
// are the bytes between the lengths, those read before stay what they were,
// and the end is an error.
func FuzzFrameReader(f *testing.F) {
	f.Add(appendFrame(appendFrame(nil, "kong.request.get_method"), ""), uint8(1))
	f.Add([]byte{3, 0, 0, 0, 'c', 'u'}, uint8(2))
	f.Add(binary.LittleEndian.AppendUint32(nil, MaxFrameBytes+1), uint8(3))
	f.Fuzz(func(t *testing.T, data []byte, piece uint8) {
		in := newFrameReader(&pieces{data, int(piece)%7 + 1})
		var frames [][]byte
		for {
			frame, err := in.next()
			if errors.Is(err, ErrFrameTooLarge) {
				return
			}
			if err != nil {
				require.True(t, errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF), "%v", err)
				break
			}
			frames = append(frames, frame)
		}
		var again []byte
		for _, frame := range frames {
			again = appendFrame(again, frame)
		}
		require.True(t, bytes.HasPrefix(data, again))
	})
}

// pieces gives its data n bytes at a time.
type pieces struct {
	data []byte
	n    int
}

func (p *pieces) Read(b []byte) (int, error) {
	if len(p.data) == 0 {
		return 0, io.EOF
	}
	n := copy(b, p.data[:min(p.n, len(p.data))])
	p.data = p.data[n:]
	return n, nil
}

func TestBuffersOfOneLargeFrameAreLetGo(t *testing.T) {
	t.Parallel()
	in := newFrameReader(bytes.NewReader(appendFrame(appendFrame(nil, make([]byte, 10<<20)), "small")))
	frame, err := in.next()
	require.NoError(t, err)
	require.Len(t, frame, 10<<20)
	in.reset()
	frame, err = in.next()
	require.NoError(t, err)
	require.Equal(t, "small", string(frame))
	require.Less(t, cap(in.buf), keepBufferBytes)
}

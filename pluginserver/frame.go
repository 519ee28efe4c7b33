package pluginserver

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// MaxFrameBytes is the longest frame that is kept. Kong puts a request body
// into a frame only up to nginx's client_body_buffer_size (8 KiB by default)
// and hands over a file's path beyond it.
const MaxFrameBytes = 32 << 20

// keepBufferBytes is how much of a grown buffer a connection keeps for its
// next event; one large body must not pin memory for the connection's life.
const keepBufferBytes = 64 << 10

const frameHeaderBytes = 4

// ErrFrameTooLarge says that a frame was longer than [MaxFrameBytes]. Its
// bytes were skipped, so the connection is still in step.
var ErrFrameTooLarge = errors.New("frame too large")

// frameReader reads length-prefixed frames into one buffer, which grows to
// the replies of one event and is used again for the next.
type frameReader struct {
	r   *bufio.Reader
	buf []byte
}

// newFrameReader reads ahead by 4 KB, for as long as the connection lives: the
// answers of most events. What is longer is read around that buffer.
func newFrameReader(r io.Reader) *frameReader {
	return &frameReader{r: bufio.NewReader(r)}
}

// reset forgets the frames read so far: slices given out before are invalid.
func (f *frameReader) reset() {
	if cap(f.buf) > keepBufferBytes {
		f.buf = nil
	}
	f.buf = f.buf[:0]
}

// next returns the next frame. The slice is valid until [frameReader.reset].
func (f *frameReader) next() ([]byte, error) {
	var header [frameHeaderBytes]byte
	if _, err := io.ReadFull(f.r, header[:]); err != nil {
		return nil, err
	}
	size := binary.LittleEndian.Uint32(header[:])
	if size > MaxFrameBytes {
		if _, err := io.CopyN(io.Discard, f.r, int64(size)); err != nil {
			return nil, err
		}
		return nil, fmt.Errorf("%w: %d bytes", ErrFrameTooLarge, size)
	}
	// Appending may move the buffer; frames given out before keep the old
	// array, which lives as long as they do.
	start := len(f.buf)
	f.buf = grow(f.buf, int(size))
	frame := f.buf[start:len(f.buf):len(f.buf)]
	if _, err := io.ReadFull(f.r, frame); err != nil {
		return nil, err
	}
	return frame, nil
}

func grow(b []byte, n int) []byte {
	if need := len(b) + n; need > cap(b) {
		next := make([]byte, len(b), max(need, 2*cap(b), 1024))
		copy(next, b)
		b = next
	}
	return b[:len(b)+n]
}

// appendFrame appends data as one frame.
func appendFrame[T ~string | ~[]byte](b []byte, data T) []byte {
	b = binary.LittleEndian.AppendUint32(b, uint32(len(data)))
	return append(b, data...)
}

// beginFrame appends an empty length to be filled by endFrame, so that a
// message can be encoded in place.
func beginFrame(b []byte) ([]byte, int) {
	return append(b, 0, 0, 0, 0), len(b)
}

func endFrame(b []byte, at int) []byte {
	binary.LittleEndian.PutUint32(b[at:], uint32(len(b)-at-frameHeaderBytes))
	return b
}

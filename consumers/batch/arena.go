package batch

// Chunks double in size from the first on, so that a quiet table holds little. A
// larger value gets its own.
const (
	firstChunk = 4 << 10
	chunkSize  = 256 << 10
)

// arena holds copies of records until their load is done. Its chunks never
// move, so slices into it stay valid until reset.
type arena struct {
	chunks [][]byte
	used   int // chunks in use
}

// copy returns a copy of b inside the arena; of nil it is nil.
func (a *arena) copy(b []byte) []byte {
	if b == nil {
		return nil
	}
	if len(b) > chunkSize/4 {
		return append(make([]byte, 0, len(b)), b...)
	}
	for a.used == 0 || cap(a.chunks[a.used-1])-len(a.chunks[a.used-1]) < len(b) {
		if a.used == len(a.chunks) {
			size := min(firstChunk<<min(a.used, 16), chunkSize)
			a.chunks = append(a.chunks, make([]byte, 0, max(size, len(b))))
		}
		a.used++
	}
	chunk := a.chunks[a.used-1]
	n := len(chunk)
	chunk = append(chunk, b...)
	a.chunks[a.used-1] = chunk
	return chunk[n:len(chunk):len(chunk)]
}

// reset forgets everything. As many chunks as were used are kept for what comes
// next, so that an idle table does not hold what a busy hour took (G13).
func (a *arena) reset() {
	clear(a.chunks[a.used:])
	a.chunks = a.chunks[:a.used]
	for i := range a.used {
		a.chunks[i] = a.chunks[i][:0]
	}
	a.used = 0
}

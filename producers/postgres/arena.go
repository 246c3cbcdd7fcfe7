package postgres

import "millrace/schemas"

const (
	arenaBlock = 256 << 10
	cellsBlock = 4096
)

// arena holds what a batch's rows point to. Nothing in it moves, so a slice
// stays good until reset; blocks are kept for the next batch.
type arena struct {
	blocks [][]byte
	next   int // the block to use when cur is full
	cur    []byte
	used   int // bytes handed out since reset

	cells    [][]schemas.Cell
	nextCell int
	curCell  []schemas.Cell
}

func (a *arena) reset() {
	a.next, a.cur, a.used = 0, nil, 0
	a.nextCell, a.curCell = 0, nil
}

// bytes returns n bytes; what they hold is not defined.
func (a *arena) bytes(n int) []byte {
	if n == 0 {
		return []byte{} // present and empty is not nil
	}
	a.used += n
	if n > arenaBlock/4 { // a large value has its own memory, which goes with the batch
		return make([]byte, n)
	}
	if n > len(a.cur) {
		if a.next == len(a.blocks) {
			a.blocks = append(a.blocks, make([]byte, arenaBlock))
		}
		a.cur = a.blocks[a.next]
		a.next++
	}
	out := a.cur[:n:n]
	a.cur = a.cur[n:]
	return out
}

func (a *arena) copy(b []byte) []byte {
	out := a.bytes(len(b))
	copy(out, b)
	return out
}

// row returns n cells, all Unset.
func (a *arena) row(n int) schemas.Row {
	a.used += n * 40
	if n > len(a.curCell) {
		if n > cellsBlock {
			return make(schemas.Row, n)
		}
		if a.nextCell == len(a.cells) {
			a.cells = append(a.cells, make([]schemas.Cell, cellsBlock))
		}
		a.curCell = a.cells[a.nextCell]
		a.nextCell++
	}
	out := a.curCell[:n:n]
	a.curCell = a.curCell[n:]
	clear(out)
	return schemas.Row(out)
}

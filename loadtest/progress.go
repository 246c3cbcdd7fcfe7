package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"millrace/loadtest/scenario"
)

// progress shows what a run does: on a terminal in one line that changes, else a
// line for each phase.
type progress struct {
	out      io.Writer
	terminal bool
	began    time.Time
	phase    string
	since    time.Time // when the phase began
	shown    time.Time
	width    int
}

func newProgress(out io.Writer) *progress {
	p := &progress{out: out, began: time.Now()}
	if f, ok := out.(*os.File); ok {
		info, err := f.Stat()
		p.terminal = err == nil && info.Mode()&os.ModeCharDevice != 0
	}
	return p
}

func (p *progress) tell(now scenario.Progress) {
	fresh := now.Phase != p.phase
	if fresh {
		p.phase, p.since = now.Phase, time.Now()
	}
	if !fresh && (!p.terminal || time.Since(p.shown) < 100*time.Millisecond) {
		return
	}
	p.shown = time.Now()
	line := fmt.Sprintf("[%5.1fs] %s", time.Since(p.began).Seconds(), now.Phase)
	if !p.terminal {
		fmt.Fprintln(p.out, line)
		return
	}
	if now.Total > 0 {
		line += fmt.Sprintf(": %d of %d", now.Done, now.Total)
		if took := time.Since(p.since).Seconds(); now.Done > 0 && took > 0.5 {
			line += fmt.Sprintf(", %.0f/s", float64(now.Done)/took)
		}
	}
	fmt.Fprint(p.out, "\r"+line+strings.Repeat(" ", max(p.width-len(line), 0)))
	p.width = len(line)
}

// end leaves the line.
func (p *progress) end() {
	if p.terminal && p.width > 0 {
		fmt.Fprintln(p.out)
	}
}

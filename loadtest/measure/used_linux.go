package measure

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// ticks is the kernel's unit of CPU time in /proc on every architecture that Go
// runs on.
const ticks = 100

// used reads /proc. A server with a process per connection counts with all of
// them: memory that they share counts once, and CPU of those that have ended is
// in their parent's.
func used(pid int) (u usage) {
	var shared, files, single int64
	tree := family(pid)
	for i, p := range tree {
		cpu, ok := cpuOf(p, i == 0)
		if !ok {
			continue
		}
		u.ok = u.ok || i == 0
		u.cpu += cpu
		m := memoryOf(p)
		u.rss += m["RssAnon"]
		shared, files = max(shared, m["RssShmem"]), max(files, m["RssFile"])
		single = m["VmHWM"]
	}
	u.rss += shared + files
	if len(tree) == 1 {
		u.peak = single
	}
	return u
}

// family is the process and all below it.
func family(pid int) []int {
	out := []int{pid}
	for i := 0; i < len(out); i++ {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", out[i], out[i]))
		if err != nil {
			continue
		}
		for field := range strings.FieldsSeq(string(text)) {
			if child, err := strconv.Atoi(field); err == nil {
				out = append(out, child)
			}
		}
	}
	return out
}

// cpuOf is the CPU time of a process, and of its ended children.
func cpuOf(pid int, ended bool) (time.Duration, bool) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, false
	}
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:])) // from the state on
	sum, last := int64(0), 13
	if ended {
		last = 15
	}
	if len(fields) < last {
		return 0, false
	}
	for _, f := range fields[11:last] {
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			return 0, false
		}
		sum += n
	}
	return time.Duration(sum) * time.Second / ticks, true
}

// memoryOf are the lines of /proc/PID/status that have a size, in bytes.
func memoryOf(pid int) map[string]int64 {
	out := map[string]int64{}
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return out
	}
	for line := range strings.Lines(string(text)) {
		name, rest, _ := strings.Cut(line, ":")
		var kb int64
		if n, err := fmt.Sscanf(rest, "%d kB", &kb); err == nil && n == 1 {
			out[name] = kb << 10
		}
	}
	return out
}

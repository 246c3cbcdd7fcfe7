package measure

import (
	"os"
	"runtime"
	"strconv"
	"strings"
)

// Machine is where something was measured.
type Machine struct {
	OS       string  `json:"os"`
	Arch     string  `json:"arch"`
	CPU      string  `json:"cpu,omitempty"`
	Cores    int     `json:"cores"`
	MemoryMB float64 `json:"memory_mb,omitempty"`
	// Load is the mean number of processes that wanted to run, over the minute
	// before: above the cores, others had a part of them.
	Load float64 `json:"load,omitempty"`
}

// ThisMachine describes the machine as it is now, as far as the system tells.
func ThisMachine() Machine {
	m := Machine{OS: runtime.GOOS, Arch: runtime.GOARCH, Cores: runtime.NumCPU()}
	m.CPU = line("/proc/cpuinfo", "model name")
	if kb, err := strconv.ParseFloat(strings.TrimSuffix(line("/proc/meminfo", "MemTotal"), " kB"), 64); err == nil {
		m.MemoryMB = kb * 1024 / 1e6
	}
	if text, err := os.ReadFile("/proc/loadavg"); err == nil {
		m.Load, _ = strconv.ParseFloat(strings.Fields(string(text))[0], 64) // 0: it does not say
	}
	return m
}

// line is what stands behind the name in a file of such lines; empty if nothing.
func line(path, name string) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	for l := range strings.Lines(string(text)) {
		if key, value, ok := strings.Cut(l, ":"); ok && strings.TrimSpace(key) == name {
			return strings.TrimSpace(value)
		}
	}
	return ""
}
